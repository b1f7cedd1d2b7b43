// What scrolls sideways can be reached with the keyboard, whatever the width of the window.
function reachable() {
  for (const el of document.querySelectorAll('pre, .table-wrapper, div.math, .cell_output, .output, .figure, .sidebar-scroll, .toc-scroll, .sig')) {
    const scrolls = (el.scrollWidth > el.clientWidth + 1 || el.scrollHeight > el.clientHeight + 1) && /auto|scroll/.test(getComputedStyle(el).overflow);
    if (scrolls) el.tabIndex = 0; else el.removeAttribute('tabindex');
    ends(el);
  }
}
// What goes on at the right fades there; a figure that does says so.
function ends(el) {
  if (!el.matches?.('pre, .table-wrapper, div.math, .cell_output, .output, .figure')) return;
  el.classList.toggle('more', el.scrollWidth > el.clientWidth + 1 && el.scrollLeft + el.clientWidth < el.scrollWidth - 2);
  el.classList.toggle('wide', el.scrollWidth > el.clientWidth + 1);
}
document.addEventListener('scroll', e => ends(e.target), true);
// What is a little too wide is set smaller; an output much too wide is wrapped.
addEventListener('load', () => {
  if (!matchMedia('(min-width: 46.01em)').matches) return;
  for (const b of document.querySelectorAll('article .table-wrapper')) if (b.scrollWidth > b.clientWidth + 1) b.classList.add('tight');
  for (const p of document.querySelectorAll('article .output pre.columns')) {
    const over = p.scrollWidth / p.clientWidth;
    if (over > 1.3) p.classList.remove('columns');
    else if (over > 1) p.style.fontSize = `${parseFloat(getComputedStyle(p).fontSize) * .97 / over}px`;
  }
});
addEventListener('load', reachable);
addEventListener('resize', reachable);
document.addEventListener('toggle', reachable, true);
// A long line of code or output goes on in the next one, a little further in, and hides nothing (not on a phone); the text to copy stays as it is.
function wrap() {
  for (const pre of document.querySelectorAll('article .highlight pre')) {
    if (pre.closest('.output') && /\S {2,}\S/.test(pre.textContent)) pre.classList.add('columns');
    pre.innerHTML = pre.innerHTML.replace(/[^\n]+/g, line => {
      const text = line.replace(/<[^>]*>/g, ''), ch = text.length - text.trimStart().length + 4;
      return `<span class="line" style="--in: ${ch}ch">${line.replace(/(?<![\w-])--[a-z][\w-]*/g, '<span class="opt">$&</span>')}</span>`;
    });
  }
}
document.addEventListener('DOMContentLoaded', wrap);
// A figure scrolls by itself, without the text above it; a long name in code may break.
document.addEventListener('DOMContentLoaded', () => {
  for (const img of document.querySelectorAll('div.cell_output img, article p > img[src$=".png"]')) {
    const box = document.createElement('div');
    box.className = 'figure'; img.replaceWith(box); box.append(img);
  }
  for (const code of document.querySelectorAll('article code.literal .pre')) if (code.textContent.length > 34) code.parentElement.classList.add('long');
});
// An open list at the side shows where one is.
addEventListener('load', () => {
  const box = document.querySelector('.sidebar-scroll'), at = document.querySelector('.sidebar-tree .current-page');
  if (box && at) box.scrollTop += at.getBoundingClientRect().top - box.getBoundingClientRect().top - box.clientHeight / 2;   // the page itself stays where it is
});
