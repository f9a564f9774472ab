"""What a request says about exploration: its beta, its group, and how many siblings it has."""

import logging
import math

from esamp.batch import NewRequest
from esamp.config import ESampConfig
from esamp.distiller.prompt_groups import ExploringRequest
from esamp.request_args import BETA_KEY, GROUP_SIZE_KEY, group_of

logger = logging.getLogger(__name__)


class RequestReader:
    """Reads `extra_args`. What cannot be used is logged and counted; it never fails a request, which may be one of many in a server."""

    def __init__(self, config: ESampConfig) -> None:
        self._config = config
        self.rejected = 0
        """Unusable values so far."""

    def read(self, request: NewRequest) -> ExploringRequest | None:
        """The request as one that explores; None if it is greedy, or its beta is 0 or no number."""
        beta = self._beta_of(request)
        if beta == 0 or request.is_greedy:
            return None
        return ExploringRequest(
            request.request_id,
            self._config.distiller_scope.group(group_of(request)),
            beta,
            is_unfiltered=request.is_unfiltered,
            top_k=request.top_k,
            group_size=self._group_size_of(request),
        )

    def _beta_of(self, request: NewRequest) -> float:
        beta = request.extra_args.get(BETA_KEY, self._config.beta)
        if isinstance(beta, int | float) and math.isfinite(beta) and beta >= 0:
            return beta
        self.rejected += 1
        logger.warning(
            "esamp: request %s stays vanilla: esamp_beta must be a finite number >= 0; got %r", request.request_id, beta
        )
        return 0.0

    def _group_size_of(self, request: NewRequest) -> int:
        size = request.extra_args.get(GROUP_SIZE_KEY, 1)
        if type(size) is int and size >= 1:
            return size
        self.rejected += 1
        logger.warning(
            "esamp: request %s: %s must be an int >= 1, got %r; its group lives as long as its requests run",
            request.request_id,
            GROUP_SIZE_KEY,
            size,
        )
        return 1
