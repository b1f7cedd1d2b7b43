"""How long does each chapter run, as `nbdev-test` runs it (without flagged cells), one after the other?

    python benchmarks/chapters.py --json results/course/cpu.json

The README's table of chapters states these seconds; nothing else should run meanwhile. Files given by name replace their rows alone."""
import argparse, json, os, subprocess, sys, time
from datetime import datetime, timezone
from pathlib import Path

import torch

from ulmfit_nb.results import commit, hardware
from ulmfit_nb.runtime import atomic

if __name__ == '__main__':
    root = Path(__file__).resolve().parent.parent
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('chapters', nargs='*', type=Path); p.add_argument('--json', type=Path, required=True)
    a = p.parse_args()
    known = json.loads(a.json.read_text()) if a.json.exists() else {}
    facts = dict(hardware=hardware(), torch=torch.__version__, python=sys.version.split()[0], commit=commit())
    if known and a.chapters and any(known[k] != facts[k] for k in ('hardware', 'torch', 'python')): sys.exit(f'{a.json} is of another machine or other versions: measure all chapters')
    if gone := [str(nb) for nb in a.chapters if not (root/nb).exists()]: sys.exit(f'there is no {gone[0]}: give paths such as nbs/05_training.ipynb')
    seconds = known.get('seconds', {}) if a.chapters else {}
    nbdev_test = Path(sys.executable).with_name('nbdev-test')
    for nb in a.chapters or sorted((root/'nbs').glob('[0-9]*.ipynb')):
        begun = time.perf_counter()
        done = subprocess.run([nbdev_test, nb], cwd=root, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode: sys.exit(f'{nb.name} did not pass:\n{done.stdout[-2000:]}{done.stderr[-2000:]}')
        seconds[nb.stem] = round(time.perf_counter() - begun, 1)
        print(f'{seconds[nb.stem]:7.1f} s  {nb.stem}  (load {os.getloadavg()[0]:.1f})', flush=True)
    a.json.parent.mkdir(parents=True, exist_ok=True)
    with atomic(a.json) as tmp: tmp.write_text(json.dumps(facts | dict(recorded=datetime.now(timezone.utc).isoformat(timespec='seconds'), seconds=dict(sorted(seconds.items()))), indent=1) + '\n')
