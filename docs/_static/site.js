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
// A long line of code or output goes on in the next one, a little further in, and hides nothing (not on a phone); the text to copy stays as it is.
function wrap() {
  for (const pre of document.querySelectorAll('article .highlight pre')) {
    pre.innerHTML = pre.innerHTML.replace(/[^\n]+/g, line => {
      const text = line.replace(/<[^>]*>/g, ''), ch = text.length - text.trimStart().length + 4;
      return `<span class="line" style="--in: ${ch}ch">${line}</span>`;
    });
  }
}
document.addEventListener('DOMContentLoaded', wrap);
// An open list at the side shows where one is.
addEventListener('load', () => document.querySelector('.sidebar-tree .current-page')?.scrollIntoView({block: 'nearest'}));
