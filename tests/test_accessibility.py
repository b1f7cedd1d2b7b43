"Every page of the site under axe-core, in both schemes, on a wide screen and on a phone: a file of its own, so that another process takes it."
import os, shutil
from pathlib import Path

import pytest

from test_site import Tab, address, pages_of, phone, root, serving, site, wide # the fixtures too

def axe():
    "The text of axe-core, an accessibility checker of the npm registry; or a skip"
    if not shutil.which('node'): pytest.skip('no Node is installed, which axe-core comes from')
    places = [Path(os.environ[k]) for k in ['AXE'] if k in os.environ] + [root/d/'node_modules/axe-core/axe.min.js' for d in ('.ci', '.')]
    if not (found := next((p for p in places if p.is_file()), None)): pytest.skip('axe-core is not installed: npm install --prefix .ci axe-core@4')
    return found.read_text(encoding='utf-8')

def axe_faults(page, script):
    "What axe-core calls serious or critical"
    page.evaluate(script)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']}).then(r => r.violations.map(v => [v.impact, v.id, v.nodes.length, v.nodes[0].html.slice(0, 150)]))")
    return [f for f in found if f[0] in ('serious', 'critical')]

@pytest.mark.parametrize('scheme,size', [('light', wide), ('dark', phone)], ids=['light', 'dark'])
def test_accessibility(site, browser, address, scheme, size):
    script, faults = axe(), {}
    tab = Tab(browser, address, color_scheme=scheme, viewport=size)
    for name in [*pages_of(site), 'search.html']:
        if found := axe_faults(tab.go(name), script): faults[name] = found
    tab.close()
    assert not faults

def test_axe_sees_faults(browser, tmp_path):
    script = axe()
    (tmp_path/'a.html').write_text('<html lang="en"><title>a</title><main><h1>a</h1><img src="data:,"><p style="color:#ccc;background:#fff">pale</p></main>')
    with serving(tmp_path) as a:
        tab = Tab(browser, a)
        assert {'image-alt', 'color-contrast'} <= {f[1] for f in axe_faults(tab.go('a.html'), script)}
        tab.close()
