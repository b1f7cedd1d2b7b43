"The site: it builds without a warning, its links lead somewhere, and every page works in a browser: offline, in both schemes, on a phone and on a wide screen."
import functools, os, re, shutil, subprocess, sys, threading
from contextlib import contextmanager
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
from filelock import FileLock # huggingface_hub brings it

root = Path(__file__).resolve().parent.parent
for package in ('sphinx', 'myst_nb', 'furo'): pytest.importorskip(package, reason=f"the site needs {package}: pip install -e '.[docs]'")
place = 'under/some/path'              # links are relative: the site works anywhere
wide, phone = dict(width=1400, height=900), dict(width=390, height=844)

# ---- without a browser
class Page(HTMLParser):
    "What a page links to and what it can be linked by."
    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.images, self.h1 = set(), [], [], 0
        self.feed(text)
    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids |= {attrs[k] for k in ('id', 'name') if attrs.get(k)}
        self.links += [attrs[k] for k in ('href', 'src') if attrs.get(k)]
        self.h1 += tag == 'h1'
        if tag == 'img': self.images.append(attrs)

def pages_of(folder): return {f.relative_to(folder).as_posix(): Page(f.read_text(encoding='utf-8')) for f in sorted(folder.rglob('*.html')) if f.name != 'search.html'}

def dead_links(folder):
    "`page: link` for each link inside the site that leads nowhere, and each one that holds only at one address"
    pages, faults = pages_of(folder), []
    for name, page in pages.items():
        for link in page.links:
            url, at = urldefrag(link)
            if urlsplit(link).scheme in ('http', 'https', 'mailto', 'data'): continue
            to = (folder/name).parent/unquote(urlsplit(url).path) if url else folder/name
            inside = not url.startswith('/') and to.resolve().is_relative_to(folder.resolve()) and to.is_file()
            key = to.resolve().relative_to(folder.resolve()).as_posix() if inside else ''
            if not inside or at and key in pages and unquote(at) not in pages[key].ids: faults.append(f'{name}: {link}')
    return faults

@pytest.fixture(scope='session')
def site(tmp_path_factory):
    "The command of CONTRIBUTING.md, into a folder that is served at `place`; while you work on the tests, `SITE=_site` takes what is built already"
    base = tmp_path_factory.getbasetemp()
    if 'PYTEST_XDIST_WORKER' in os.environ: base = base.parent # the workers share one
    out, done = base/'site'/place, base/'site-is-built'
    with FileLock(base/'site.lock'):
        if not done.exists(): build(out); done.touch()
    return out

def build(out):
    if 'SITE' in os.environ: return shutil.copytree(root/os.environ['SITE'], out)
    command = re.search(r'^sphinx-build (.*) docs _site$', (root/'CONTRIBUTING.md').read_text(encoding='utf-8'), re.M)
    assert command, 'CONTRIBUTING.md gives no command for the site'
    r = subprocess.run([sys.executable, '-m', 'sphinx', *command[1].split(), 'docs', out], cwd=root, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert r.returncode == 0, r.stderr[-5000:]
    assert {'-W', '-n'} <= {*command[1].split()} and 'WARNING' not in r.stderr

def test_every_chapter_has_a_page(site):
    pages, chapters = pages_of(site), [p.stem for p in sorted((root/'nbs').glob('[0-9]*.ipynb'))]
    assert chapters and {f'nbs/{c}.html' for c in chapters} <= {*pages}
    for c, before in zip(chapters, [None, *chapters]):
        page, html = pages[f'nbs/{c}.html'], (site/f'nbs/{c}.html').read_text(encoding='utf-8')
        copies = [l for l in page.links if l.endswith(f'/{c}.ipynb')]
        assert copies and (site/'nbs'/copies[0]).read_bytes() == (root/f'nbs/{c}.ipynb').read_bytes(), f'{c}: no download of the notebook'
        assert f'nbs/{c}.ipynb</span>' in html and 'nbdev-test' in html, f'{c}: no command that runs it'
        assert not before or f'{before}.html' in page.links, f'{c}: no way back'
        assert '#|' not in re.sub(r'<[^>]+>', '', html), f'{c}: a directive is shown'
    for module in [p.stem for p in (root/'ulmfit_nb').glob('[a-z]*.py')]: assert f'api/{module}.html' in pages

def test_links_lead_somewhere(site): assert not dead_links(site)

def test_dead_links_are_seen(tmp_path):
    (tmp_path/'a.html').write_text('<h1 id="top">a</h1><a href="#top">x</a><a href="a.html#top">x</a><a href="http://x.y">x</a>')
    assert not dead_links(tmp_path)
    for link in ('b.html', '#no', 'a.html#no', '/a.html', '../a.html'):
        (tmp_path/'a.html').write_text(f'<h1 id="top">a</h1><a href="{link}">x</a>')
        assert dead_links(tmp_path) == [f'a.html: {link}']

def test_pages_have_a_heading_and_images_say_what_they_show(site):
    for name, page in pages_of(site).items():
        assert page.h1 == 1 or name == 'genindex.html', f'{name}: {page.h1} headings of the first level'
        for image in page.images: assert len(image.get('alt', '')) > 10, f'{name}: {image["src"]} has no alternative text'

def test_every_option_of_every_command_is_on_the_page(site):
    import ulmfit_nb.cli # registers the commands
    from ulmfit_nb.commands import COMMANDS, parser
    page = (site/'commands.html').read_text(encoding='utf-8')
    commands = parser()._subparsers._group_actions[0].choices
    assert set(commands) == set(COMMANDS)
    for name, p in commands.items():
        section = re.search(f'<section id="ulmfit-{name}">.*?</section>', page, re.S)
        assert section, f'{name} has no section'
        missing = [o for a in p._actions for o in a.option_strings if o not in ('-h', '--help') and f'<span class="pre">{o}</span>' not in section[0]]
        assert not missing, f'{name}: {missing} are not shown'

def test_returns_are_those_of_the_source(site):
    "A comment behind a signature of one line says what is returned; one behind the last parameter does not"
    def said(module, name): return re.search(rf'id="ulmfit_nb.{module}.{name}">.*?</dd></dl>', (site/f'api/{module}.html').read_text(encoding='utf-8').replace('\n', ' '), re.S)[0]
    assert 'Returns' in said('evidence', 'baseline') and 'a fitted scikit-learn pipeline' in said('evidence', 'baseline')
    one_line = said('storage', 'list_backbones')
    assert 'names, sorted' in one_line.partition('Returns')[2] and 'names, sorted' not in one_line.partition('Returns')[0]

def test_configuration_is_small(): assert len((root/'docs/conf.py').read_text(encoding='utf-8').splitlines()) < 120

# ---- with a browser
@contextmanager
def serving(folder):
    "The address at which `folder` is served"
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args): pass
    with ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try: yield f'http://127.0.0.1:{server.server_port}'
        finally: server.shutdown()

@pytest.fixture(scope='module')
def address(site):
    with serving(site.parents[place.count('/')]) as a: yield f'{a}/{place}'

class Tab:
    "A page of the browser that notes what goes wrong: errors, files that are missing, requests that leave `address`"
    def __init__(self, browser, address, **kw):
        self.page, self.address, self.faults = browser.new_context(**{'viewport': wide} | kw).new_page(), address, []
        self.page.set_default_timeout(120_000)
        host = '/'.join(address.split('/')[:3])
        def asked(r):
            if not r.url.startswith((host, 'data:', 'blob:')): self.faults.append(f'request to {r.url}')
        self.page.on('request', asked)
        self.page.on('response', lambda r: r.status >= 400 and self.faults.append(f'{r.status} for {r.url}'))
        self.page.on('console', lambda m: m.type in ('error', 'warning') and self.faults.append(f'console: {m.text}'))
        self.page.on('pageerror', lambda e: self.faults.append(f'error: {e}'))
    def go(self, name):
        self.page.goto(f'{self.address}/{name}', wait_until='load')
        self.page.wait_for_function("!document.querySelector('.math') || window.MathJax?.startup?.promise?.then(() => true)")
        return self.page
    def width(self):
        "How many pixels of the page lie outside the window"
        return self.page.evaluate("Math.max(...[document.documentElement, ...document.querySelectorAll('.content')].map(e => e.scrollWidth - e.clientWidth))")
    def close(self): self.page.context.close()

@pytest.fixture
def tab(browser, address):
    t = Tab(browser, address)
    yield t
    t.close()

def test_faults_of_a_page_are_seen(browser, tmp_path):
    (tmp_path/'a.html').write_text('<html lang="en"><head><link rel="icon" href="data:,"></head><title>a</title><div style="width:500px">a</div><img src="http://127.0.0.2:9/x.png">'
        '<img src="no.png"><script>console.error("oh"); nothing()</script>')
    with serving(tmp_path) as a:
        tab = Tab(browser, a, viewport=phone)
        tab.go('a.html')
        assert tab.width() > 0
        for what in ('request to http://127.0.0.2', '404 for', 'console: oh', 'error: nothing'): assert any(what in f for f in tab.faults), what
        tab.close()

def test_search_finds_a_definition(tab):
    page = tab.go('index.html')
    page.fill('.sidebar-search', 'stlr')
    page.press('.sidebar-search', 'Enter')
    page.locator('ul.search li a').nth(2).wait_for()
    hits = [a.get_attribute('href').split('#')[-1] for a in page.locator('ul.search li a').all()[:3]]
    assert {'term-STLR', 'ulmfit_nb.schedules.stlr'} <= {*hits}   # the word's meaning and the function come first
    page.locator('ul.search li a').nth(hits.index('ulmfit_nb.schedules.stlr')).click()
    page.wait_for_url(re.compile(r'/api/schedules\.html.*#ulmfit_nb\.schedules\.stlr$'))
    in_view(page, 'ulmfit_nb.schedules.stlr')
    assert not tab.faults

def in_view(page, id):
    "Wait until the page, which scrolls smoothly, shows what `id` names"
    page.wait_for_function('id => { const r = document.getElementById(id)?.getBoundingClientRect(); return r && r.top >= -1 && r.top < innerHeight }', arg=id)

@pytest.mark.parametrize('link', ['.highlight a.name:visible', 'article p a.reference.internal[href*="api/"][href*="#"]'], ids=['code', 'prose'])
def test_a_symbol_leads_to_its_definition(tab, link):
    page = tab.go('nbs/08_classifier.html')
    a = page.locator(link).first
    to = a.get_attribute('href').split('#')[1]
    a.click()
    page.wait_for_url(f'**/api/*.html#{to}')
    in_view(page, to)
    page.locator(f'[id="{to}"] a.reference.external, [id="{to}"] a.reference.internal').filter(has_text='source').first.click()
    page.wait_for_url('**/nbs/*.html#cell-*')                     # and from there to the cell that defines it
    in_view(page, page.url.split('#')[1])

def test_dark_holds_across_pages(tab):
    page = tab.go('index.html')
    def ground(): return page.evaluate("getComputedStyle(document.body).backgroundColor")
    light = ground()
    for _ in range(3):
        if page.get_attribute('body', 'data-theme') == 'dark': break
        page.locator('.theme-toggle:visible').first.click()
    dark = ground()
    assert page.get_attribute('body', 'data-theme') == 'dark' and dark != light
    for name in ('nbs/03_awd_lstm.html', 'api/schedules.html'):
        tab.go(name)
        assert page.get_attribute('body', 'data-theme') == 'dark' and ground() == dark

def test_formulas_are_set(tab):
    page = tab.go('nbs/03_awd_lstm.html')
    assert page.locator('.math mjx-container').count() == page.locator('.math.notranslate').count() > 3 and page.locator('mjx-merror').count() == 0
    assert page.evaluate("document.fonts.ready.then(() => [...document.fonts].some(f => f.family.startsWith('MJX') && f.status == 'loaded'))")
    assert not tab.faults

def test_the_keyboard_reaches_all_that_scrolls(tab):
    page = tab.go('nbs/03_awd_lstm.html')
    page.keyboard.press('Tab')
    assert page.evaluate('document.activeElement.textContent').strip().lower().startswith('skip')
    page.set_viewport_size(phone)
    page.wait_for_timeout(200)
    stuck = "[...document.querySelectorAll('article pre')].filter(e => e.scrollWidth > e.clientWidth + 1 && e.tabIndex < 0 && e.offsetParent).length"
    assert page.evaluate(stuck) == 0
