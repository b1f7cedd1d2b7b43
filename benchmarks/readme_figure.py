"The first figure of chapter 13, as stored there, becomes the picture of README.md: python benchmarks/readme_figure.py"
import base64, json
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT/'docs'/'_static'/'few-labels.png'

def stored() -> bytes: # PNG
    "The first picture among the chapter's outputs."
    cells = json.loads((ROOT/'nbs'/'13_results.ipynb').read_text(encoding='utf-8'))['cells']
    return base64.b64decode(next(''.join(o['data']['image/png']) for c in cells for o in c.get('outputs', ()) if 'image/png' in o.get('data', {})))

if __name__ == '__main__': FILE.write_bytes(stored())
