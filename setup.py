"Build the package from the metadata in settings.ini."
import re
from configparser import ConfigParser
from pathlib import Path
from setuptools import setup, find_packages

root = Path(__file__).parent
def text(name): return (root/name).read_text(encoding='utf-8')

ini = ConfigParser(delimiters=['='], interpolation=None)
ini.read_string(text('settings.ini'))
cfg = ini['DEFAULT']
def lines(key): return [o.strip() for o in cfg[key].splitlines() if o.strip()]

lib = cfg['lib_path']
version = re.search(r'^__version__\s*=\s*[\'"]([^\'"]+)', text(f'{lib}/__init__.py'), re.M)[1]

setup(
    version=version, description=cfg['description'],
    long_description=text('README.md'), long_description_content_type='text/markdown',
    author=cfg['author'],
    license_expression=cfg['license'], keywords=cfg['keywords'].split(), classifiers=lines('classifiers'),
    python_requires=f">={cfg['min_python']}",
    license_files=['LICENSE'],
    packages=find_packages(include=[lib, f'{lib}.*']), include_package_data=False,
    package_data={lib: [f'backbones/**/*.{ext}' for ext in ('safetensors', 'json', 'md', 'csv')]},
    install_requires=lines('requirements'), extras_require={o: lines(f'{o}_requirements') for o in ('data', 'docs', 'dev')},
    entry_points={'console_scripts': lines('console_scripts'), 'nbdev': [f'{lib}={lib}._modidx:d']},
)
