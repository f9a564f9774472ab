"""What holds for samples that depend on each other: launch order, group size, windows of joint draws and their bound."""
