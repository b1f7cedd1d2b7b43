"""Settings of the site. `sphinx-build -W -n docs _site`, run at the root of the repository, is the whole build and needs no network: chapters are
nbs/*.ipynb with the outputs they store, API pages come from docstrings and docments, the other pages are the Markdown files here, with Jinja."""
import ast, importlib.util, inspect, json, re, shutil, sys
from pathlib import Path
from docutils import nodes
from fastcore.docments import docments
from nbdev.doclinks import L, patch_name
from sphinx.addnodes import pending_xref

docs, root = Path(__file__).parent, Path(__file__).parent.parent
sys.path.insert(0, str(root))          # this checkout's package, installed or not
import ulmfit_nb, ulmfit_nb.cli, ulmfit_nb.commands, ulmfit_nb.reproduce
from ulmfit_nb._modidx import d as index
from ulmfit_nb.results import summary

project, author, copyright = 'ulmfit_nb', 'ulmfit_nb contributors', 'ulmfit_nb contributors, Apache-2.0'
version, extensions = ulmfit_nb.__version__, ['myst_nb', 'sphinx.ext.autodoc', 'sphinx.ext.linkcode', 'sphinx.ext.mathjax', 'sphinx_copybutton']
nb_execution_mode, nb_merge_streams, nb_render_markdown_format, nb_ipywidgets_js, nb_code_prompt_hide = 'off', True, 'myst', {}, 'Hide this code'   # stored outputs; no widget scripts from elsewhere
myst_enable_extensions, myst_heading_anchors = ['amsmath', 'attrs_block', 'attrs_inline', 'colon_fence', 'deflist', 'dollarmath'], 4
autodoc_typehints, autodoc_typehints_description_target = 'description', 'documented_params'
nitpick_ignore_regex = [('py:.*', r'(?!ulmfit_nb\.).*'), ('py:obj', '.*')]   # types of other libraries; names that have no docstring
html_theme, html_title, html_favicon = 'furo', f'ulmfit_nb {version}', '_static/favicon.svg'
templates_path, html_static_path, html_css_files, html_js_files = ['_templates'], ['_static'], ['site.css'], ['site.js']
html_show_sourcelink = html_copy_source = html_show_sphinx = html_domain_indices = add_module_names = autodoc_inherit_docstrings = False
pygments_style, pygments_dark_style = 'a11y-high-contrast-light', 'github-dark'
html_theme_options = {f'{k}_css_variables': {f'color-brand-{o}': c for o in ('primary', 'content', 'visited')} for k,c in dict(light='#0b5c94', dark='#7cc4f5').items()}
mathjax_path, mathjax3_config = 'mathjax/tex-chtml.js', {'options': {'enableMenu': False}}

# ---- what there is: chapters, names and the cells that define them, recorded runs, backbones
for d in ('nbs', 'api'): shutil.rmtree(docs/d, ignore_errors=True); (docs/d).mkdir()
for f in root.glob('nbs/**/[0-9]*.ipynb'):
    (docs/f.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(f, docs/f.relative_to(root))
def chapter(f):   # what the site says about the notebook, from its own words
    said = '\n'.join(''.join(c['source']) for c in json.loads(f.read_text(encoding='utf-8'))['cells'])
    def find(p): return next(iter(re.findall(p, said, re.M)), '')
    return dict(stem=f.stem, num=f.stem.split('_')[0], title=find(r'^# (.+)'), sub=find(r'^> (.+)'), time=find(r'code runs in (.*?)(?: and uses|[.;]\s|[.;]?$)') or find(r'\*\*Time\W*\*\*\W*(.*?)(?: and uses|[.;]\s|[.;]?$)'),
        module=find(r'^#\| default_exp (\w+)'), other=next((o for o in (f'solutions/{f.name}', f'../{f.name}') if (f.parent/o).exists()), ''), path=f.relative_to(docs).as_posix())
chapters, solutions = ([chapter(f) for f in sorted(docs.glob(p))] for p in ('nbs/*.ipynb', 'nbs/solutions/*.ipynb'))
pages, used, homes = {c['path'][:-6]: c for c in chapters + solutions}, {}, {}   # used: page -> names of the package in its code; homes: module, name -> cell
for page, c in pages.items():
    if not c['module']: continue
    (docs/f'api/{c["module"]}.md').write_text(f"{{% set c = pages['{page}'] %}}{{% include 'module.md' %}}", encoding='utf-8')
    for chunk in (root/f'ulmfit_nb/{c["module"]}.py').read_text(encoding='utf-8').split('\n# %% ../')[1:]:
        at, _, code = chunk.partition('\n')
        homes |= {(c['module'], n): f'../{page}.html#cell-' + at.split('#')[1] for o in ast.parse(code).body if hasattr(o, 'name') for n in L(patch_name(o))}
twins = {k for ks in index['syms'].values() for k in ks if not re.search(r'\._', k)}
names, terms = {re.sub(r'^ulmfit_nb\.\w+\.', '', k): k for k in sorted(twins)}, set(re.findall(r'^`(\w+)`$', (docs/'glossary.md').read_text(encoding='utf-8'), re.M))
def linkcode_resolve(domain, info): return next((homes[k] for n in (info['fullname'], info['fullname'].split('.')[0]) if (k := (info['module'].split('.')[-1], n)) in homes), None)
def text(path):
    "A Markdown file of the repository; what it links to and the site does not show becomes a download."
    def link(m): return m[0] if (docs/m[1]).exists() or not (root/m[1]).is_file() else f'](../{m[1]})'
    return re.sub(r'\]\(([^):#]+)\)', link, re.sub(r'\A---\n.*?\n---\n', '', (root/path).read_text(encoding='utf-8'), flags=re.S))
rows = sorted((r | ({'unlabelled': 0} if r.get('lm_epochs') == 0 else {}) | ({'backbone': None} if 'scratch' in (r.get('variant') or '') else {}) | dict(file=f.name) for f in root.glob('results/*/*.json') if 'accuracy' in (r := json.loads(f.read_text(encoding='utf-8')))),
    key=lambda r: (r['experiment'], r.get('labels') or 0, r.get('variant') or '', r.get('direction') or '', r.get('seed') or 0, r['file']))
backbones, sizes = [dict(name=f.parent.name, card=re.sub(r'\A# .+\n', '', text(f.relative_to(root))), files=[(o.name, o.stat().st_size) for o in sorted(f.parent.iterdir())]) for f in sorted(root.glob('ulmfit_nb/backbones/*/README.md'))], sorted((json.loads(f.read_text(encoding='utf-8')) for f in root.glob('results/sizes/*.json')), key=lambda r: r['parameters'])
commands = {n: dict(about=p.description, options=[{k: getattr(a, k) for k in ('option_strings', 'dest', 'nargs', 'metavar', 'choices', 'default', 'required')} | dict(help=re.sub(r'--[\w-]+', r'`\g<0>`', a.help or '')) for a in p._actions if a.dest != 'help']) for n,p in ulmfit_nb.commands.parser()._subparsers._group_actions[0].choices.items()}

# ---- how it is shown
def prepare(app, page, src):
    "Render a template. Give a notebook its strip of links, drop directives and housekeeping, fold what is auxiliary, describe figures."
    if page not in pages: src[0] = app.builder.templates.render_string(src[0], globals()); return
    nb, cells, alt, top = json.loads(src[0]), [], '', app.builder.templates.render('strip.md', pages[page])
    for cell in nb['cells']:
        s = ''.join(cell['source'])
        if cell['cell_type'] == 'markdown':
            if not s.startswith('#'): alt = re.sub(r'(?<=\])\([^)\s]+\)|[*`$#\[\]|]', '', s.strip().split('\n\n')[0])
            cells.append(dict(cell, source=re.sub(r'\A# .+\n(\n+> .+(\n>.*)*)?', lambda m: m[0].rstrip() + top, s + '\n'))); continue
        kinds, s = dict(re.findall(r'^#\|\s*([\w-]+):? *(.*)$', s, re.M)), re.sub(r'^#\|.*\n?', '', s, flags=re.M).strip('\n')
        if not s or 'nbdev_export()' in s or 'hide' in kinds and not cell['outputs'] and not re.search(r'^(def|class) ', s, re.M): continue
        imported = ' '.join(re.findall(r'from (?:ulmfit_nb)?[.\w]* import (\([^)]+\)|.+)', s))
        used.setdefault(page, set()).update(re.findall(r'\w+', imported), re.findall(r'^(?:def|class) (\w+)', s, re.M) if 'export' in kinds else ())
        tags = [dict(fold='hide-output').get(k, k) for k in kinds if k in ('export', 'cuda', 'net', 'slow', 'fold')]
        imports = all(re.match(r'\s*(from .* )?import |\s|\)|#|plt\.rcParams|torch\.(manual_seed|set_num)', l) for l in s.splitlines() if l)
        if 'hide' in kinds or s.count('\n') > 32 or imports: tags.append('hide-input')
        show = kinds['fold'] if 'fold' in kinds else 'Show the imports' + ' of the package' * ('export' in kinds) if imports else 'Show the code of the figure' if re.search('plt|draw', s) else 'Show auxiliary code'
        for o in cell['outputs']:
            if o.get('data', {}).pop('application/vnd.jupyter.widget-view+json', None): o['data'] |= {'text/markdown': '*A widget: it moves in a running notebook, not on this page.*'}
        if tags == ['hide-input'] and cells and cells[-1]['metadata'].get('tags') == tags and not cells[-1]['outputs']: s = cells.pop()['source'] + '\n\n' + s
        cells += [dict(cell_type='markdown', id='at-' + cell['id'], metadata={}, source=f'(cell-{cell["id"]})='),
            dict(cell, source=s, metadata=dict(tags=tags, mystnb=dict(code_prompt_show=show, image=dict(alt=kinds.get('fig-alt') or alt))))]
    src[0] = json.dumps(dict(nb, cells=cells))
def own(page, name): return m if (m := f"ulmfit_nb.{pages.get(page.replace('/solutions', ''), {}).get('module')}.{name}") in twins else names.get(name)   # of two that share a name, the chapter's
def link_names(app, tree):
    "Names of the package that stand as code in prose become links, and those of the glossary where a page mentions them first."
    page, seen = app.env.docname, {'glossary': terms}.get(app.env.docname, set()).copy()
    for n in [n for n in tree.findall(nodes.literal) if isinstance(n.parent, (nodes.paragraph, nodes.entry, nodes.strong, nodes.emphasis))]:
        s = n.astext().removesuffix('()').removeprefix('ulmfit_nb.')
        word = s.isalnum() and s.islower() and (page[:3] not in ('nbs', 'api') or '/14' in page or re.match(r'ulmfit_nb\.(commands|evaluate|pretraining|cli)\.', names.get(s, '')))   # a command or a field
        to = ('std', 'doc', '/' + s[:-3]) if s == 'results/LOG.md' else ('py', 'mod', m) if page == 'index' and (m := f'ulmfit_nb.{s}') in index['syms'] else ('py', 'obj', own(page, s)) if s in names and not word else ('std', 'term', s) if s in terms - seen else None
        if not seen.add(s) and to: n.replace_self(pending_xref('', n.deepcopy(), refexplicit=True, refdoc=page, **dict(zip(('refdomain', 'reftype', 'reftarget'), to))))
def link_code(app, page, template, context, tree):   # names of the package that a page's code imports or exports become links where it uses them
    words = used.get(page) or re.findall(r'\w+', ' '.join(re.findall(r'<span class="nn">ulmfit_nb.*', context.get('body', ''))))
    api = {n: o for n in words if (o := app.env.domains['py'].objects.get(own(page, n)))}
    def link(m): return m[0] if m[2] not in api else f'<a class="{m[1]} name" href="{app.builder.get_relative_uri(page, api[m[2]].docname)}#{api[m[2]].node_id}">{m[2]}</a>'
    def block(m): return re.sub(r'(?<!<span class="o">\.</span>)<span class="(n|nc|nf)">(\w+)</span>(?!<span class="o">=)', link, m[0])
    context['furo_navigation_tree'] = context.get('furo_navigation_tree', '').replace('role="heading"', 'role="heading" aria-level="2"')   # what a checker misses
    context['body'] = re.sub(r'<div class="highlight-python.*?</pre>', block, context.get('body', ''), flags=re.S).replace(' aria-label="Toggle hidden content"', '')
def fields(app, what, name, obj, options, lines):   # a docstring's Markdown code becomes reStructuredText, and docments become fields
    def code(o): return f'\\ :py:obj:`{o} <{names[o]}>`\\ ' if o in names else f'\\ ``{o}``\\ '
    def rst(s): return re.sub(r'`([^`]+)`|(?<![\w-])(--\w[\w-]*)|([*_|\\])', lambda m: '\\' + m[3] if m[3] else code(m[1] or m[2]), s)
    lines[:] = [rst(l) for l in '\n'.join(lines).split('\nParameters\n')[0].split('\n') if what != 'module']   # docments say the same
    if what in ('class', 'function', 'method'):
        told = inspect.getsource(obj); src = '' if what == 'class' else told
        line = re.search(r'\A(?:@.*\n)*def [^#\n]*\)(?: *->[^#\n]*)?: *# (.+)$', inspect.cleandoc(src), re.M)   # a signature on one line: its comment says what is returned
        found = line or re.search(r'^ *\)(?: *->.*)?: *# (.+)$', src, re.M)
        ps = {} if line else docments(obj, full=True)
        def said(k): return ps[k].docment or next((o for p in ps.values() if (o := p.docment) and re.search(rf'^[^#\n]*\b{k}\b[:=,][^#\n]*# {re.escape(o.splitlines()[0])}', told, re.M)), None)   # those that share a line share its comment
        lines += [o for k in ps if k not in ('self', 'return') and said(k) for o in ('', f':param {k}: {rst(said(k))}')]
        if found: lines += ['', f':returns: {re.sub("^of ", {"list": "a list of ", "Iter": "an iterator of "}.get(str(re.search("-> *(.{4})|$", src)[1]), "of "), rst(found[1]))}']
def skip(app, what, name, obj, skip, options):   # what Python or another library wrote
    return True if str(obj.__doc__).startswith('Alias for field') or not str(getattr(obj, '__module__', None) or 'ulmfit_nb').startswith('ulmfit_nb') else None
def mathjax(app, exc):   # from a wheel, not from a CDN: the script and its fonts
    src, dst, fonts = Path(importlib.util.find_spec('sphinx-mathjax-offline').origin).parent/'static/mathjax', Path(app.outdir)/'_static/mathjax', 'output/chtml/fonts/woff-v2'
    if exc is None: shutil.copytree(src/fonts, dst/fonts, dirs_exist_ok=True); shutil.copy2(src/'tex-chtml.js', dst)
def start(app, env, *_): return setattr(env.mystnb_config, 'output_folder', str(Path(app.doctreedir)/'outputs')) or env.found_docs   # all is read anew
def setup(app):
    for event, f in {'env-get-outdated': start, 'source-read': prepare, 'doctree-read': link_names, 'html-page-context': link_code, 'autodoc-process-docstring': fields,
        'autodoc-process-signature': lambda *a: a[5] and (re.sub(r"<class '(\w+)'>|<factory>|1\.797\d+e\+308", lambda m: m[1] or '…', re.sub(r'=(\w*)([({])(?:[^(){}]|[({][^(){}]*[)}]){30,}[)}]', r'=\1\2…' + ')', a[5])).replace('{…)', '{…}'), a[6]), 'autodoc-skip-member': skip, 'build-finished': mathjax}.items(): app.connect(event, f, 900)
