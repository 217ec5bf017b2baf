// Before anything is drawn: the theme that was chosen here before, so that the page does not flash in the other one.
try {
  const theme = localStorage.getItem('larr-theme');
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
} catch {
  // storage is switched off: the system's theme it is
}
