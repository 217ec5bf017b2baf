import './design/base.css';
import { lazy, StrictMode, Suspense, useEffect } from 'react';
import { createRoot } from 'react-dom/client';
import { Explorer } from './explorer/Explorer';
import { Link } from './shell/Link';
import { hrefOf, type Page, pageOf, useLocation } from './shell/routing';
import { Shell } from './shell/Shell';

const Experiments = lazy(() =>
  import('./experiments/Experiments').then(({ Experiments }) => ({ default: Experiments })),
);
const Experiment = lazy(() => import('./experiments/Experiment').then(({ Experiment }) => ({ default: Experiment })));
const Runs = lazy(() => import('./training-runs/Runs').then(({ Runs }) => ({ default: Runs })));
const Run = lazy(() => import('./training-runs/Run').then(({ Run }) => ({ default: Run })));
const Health = lazy(() => import('./health/Health').then(({ Health }) => ({ default: Health })));

const TITLES: Record<Page['name'], string> = {
  explorer: 'Scene explorer',
  experiments: 'Experiments',
  experiment: 'Experiment',
  runs: 'Runs',
  run: 'Run',
  health: 'Health',
  nowhere: 'No such page',
};

function Console() {
  const { path } = useLocation();
  const page = pageOf(path);
  const title = 'id' in page ? `${page.id.replaceAll('~', '/')} · ${TITLES[page.name]}` : TITLES[page.name];
  useEffect(() => {
    document.title = `${title} · LARR`;
  }, [title]);
  return (
    <Shell page={page}>
      <Suspense fallback={<div className="page" aria-busy="true" />}>
        <Content page={page} />
      </Suspense>
    </Shell>
  );
}

function Content({ page }: { page: Page }) {
  switch (page.name) {
    case 'explorer':
      return <Explorer />;
    case 'experiments':
      return <Experiments />;
    case 'experiment':
      return <Experiment key={page.id} id={page.id} />;
    case 'runs':
      return <Runs />;
    case 'run':
      return <Run key={page.id} id={page.id} />;
    case 'health':
      return <Health />;
    case 'nowhere':
      return (
        <div className="page">
          <div className="page-head">
            <h1>No such page</h1>
            <p>
              The console has nothing here. <Link href={hrefOf({ name: 'explorer' })}>Explore scenes</Link> instead.
            </p>
          </div>
        </div>
      );
  }
}

createRoot(document.getElementById('root')!).render(
  <StrictMode>
    <Console />
  </StrictMode>,
);
