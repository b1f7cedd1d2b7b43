"What several test files share."
import pytest

@pytest.fixture(scope='module')
def one_thread():
    "Models as small as the tests' lose time to threads."
    import torch
    n = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n)
