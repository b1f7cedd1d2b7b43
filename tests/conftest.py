"What several test files share."
import os, shutil, signal

import pytest

if 'PYTEST_XDIST_WORKER' in os.environ: os.environ.setdefault('OMP_NUM_THREADS', '1') # the workers share the cores; torch reads this when it is imported

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN: signal.signal(signal.SIGINT, signal.default_int_handler) # a job in the background ignores Ctrl-C, and so would the runs that the tests interrupt

def pytest_collection_modifyitems(items):
    "The files that take longest first: none of them is left over when the other worker has done."
    first = ['test_pages.py', 'test_cli.py', 'test_site.py', 'test_scaling.py'] # the second worker does not wait for the site that the first one builds
    items.sort(key=lambda i: first.index(i.path.name) if i.path.name in first else len(first))

@pytest.fixture(scope='module')
def one_thread():
    "Models as small as the tests' lose time to threads."
    import torch
    n = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n)

flags = '--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync'.split()

@pytest.fixture(scope='session')
def browser():
    "One for all files: a second one could not be started in the same process."
    sync = pytest.importorskip('playwright.sync_api', reason="the browser tests need playwright: pip install -e '.[dev]'")
    path = os.environ.get('CHROMIUM') or next((p for o in ('chromium', 'chromium-browser', 'google-chrome') if (p := shutil.which(o))), None)
    if not path: pytest.skip('no Chromium is installed (on Debian: apt-get install chromium)')
    with sync.sync_playwright() as p:
        b = p.chromium.launch(executable_path=path, args=flags)
        yield b
        b.close()
