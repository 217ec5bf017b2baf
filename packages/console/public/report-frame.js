// Shows a report that the console hands over as text. This page is sandboxed: it has no origin, reaches no server, and scripts inside a
// report do not run, as markup that is set this way brings none to life.
addEventListener('message', (event) => {
  if (event.source !== parent || typeof event.data?.report !== 'string') return;
  const page = new DOMParser().parseFromString(event.data.report, 'text/html');
  document.title = page.title;
  document.head.replaceChildren(...page.querySelectorAll('head style'));
  document.body.replaceWith(document.adoptNode(page.body));
  const tell = () => parent.postMessage({ reportHeight: document.documentElement.scrollHeight }, '*');
  new ResizeObserver(tell).observe(document.body);
  tell();
});
parent.postMessage({ reportFrame: 'ready' }, '*');
