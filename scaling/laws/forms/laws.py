"""The laws that `scaling fit --law NAME` knows."""

from scaling.laws.forms.broken import BROKEN
from scaling.laws.forms.form import Chinchilla, Form
from scaling.laws.forms.hyperparameters import BatchSize, BatchSizeCompute, LearningRate, LearningRateCompute
from scaling.laws.forms.kaplan import CriticalBatchLaw, KaplanSteps, KaplanTokens
from scaling.laws.forms.over_training import OverTraining
from scaling.laws.forms.power_laws import (
    ComputeEnvelope,
    ComputePower,
    ParamsFloor,
    ParamsPower,
    TokensFloor,
    TokensPower,
)
from scaling.laws.forms.repeated import RepeatedData
from scaling.laws.forms.task_error import DownstreamError, GadreError

LAWS: dict[str, Form] = {
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
