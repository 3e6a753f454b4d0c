import pytest
from helpers.trained_models import train_digits


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory):
    """The folder of a tiny run of digits, to be read only."""
    workdir = tmp_path_factory.mktemp("trained") / "digits"
    train_digits(workdir)
    return workdir
