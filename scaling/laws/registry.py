"""The laws that `scaling fit --law NAME` knows."""

from scaling.laws.broken import BROKEN
from scaling.laws.downstream import DownstreamError, GadreError
from scaling.laws.forms import Chinchilla, Law
from scaling.laws.hyperparameters import BatchSize, BatchSizeCompute, LearningRate, LearningRateCompute
from scaling.laws.kaplan import CriticalBatchLaw, KaplanSteps, KaplanTokens
from scaling.laws.over_training import OverTraining
from scaling.laws.power_laws import (
    ComputeEnvelope,
    ComputePower,
    ParamsFloor,
    ParamsPower,
    TokensFloor,
    TokensPower,
)
from scaling.laws.repeated import RepeatedData

LAWS: dict[str, Law] = {
    law.name: law
    for law in (
        Chinchilla(),
        ComputeEnvelope(),
        ComputePower(),
        ParamsFloor(),
        ParamsPower(),
        TokensFloor(),
        TokensPower(),
        OverTraining(),
        RepeatedData(),
        KaplanTokens(),
        KaplanSteps(),
        CriticalBatchLaw(),
        *BROKEN,
        DownstreamError(),
        GadreError(),
        LearningRate(),
        LearningRateCompute(),
        BatchSize(),
        BatchSizeCompute(),
    )
}
