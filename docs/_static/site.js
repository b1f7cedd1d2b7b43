// What scrolls sideways can be reached with the keyboard, whatever the width of the window.
function reachable() {
  for (const el of document.querySelectorAll('pre, .table-wrapper, div.math, .cell_output, .output, .sidebar-scroll, .toc-scroll, .sig')) {
    const scrolls = (el.scrollWidth > el.clientWidth + 1 || el.scrollHeight > el.clientHeight + 1) && /auto|scroll/.test(getComputedStyle(el).overflow);
    if (scrolls) el.tabIndex = 0; else el.removeAttribute('tabindex');
  }
}
addEventListener('load', reachable);
addEventListener('resize', reachable);
document.addEventListener('toggle', reachable, true);
