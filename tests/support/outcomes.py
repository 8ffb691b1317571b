"""What the state of a model's run holds."""

from typing import Any

from roastery.results import ModelOutcome


def outcome_of(state: Any) -> ModelOutcome:
    """How the run ended, well or not."""
    outcome = state.result(raise_on_failure=False)
    assert isinstance(outcome, ModelOutcome), outcome
    return outcome
