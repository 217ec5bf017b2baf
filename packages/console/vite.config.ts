import { defineConfig, type Plugin } from 'vite';

/** The text font is asked for together with the page, so that it is there for the first picture and nothing jumps. */
const preloadFont: Plugin = {
  name: 'preload-font',
  transformIndexHtml: {
    order: 'post',
    handler: (_html, { bundle }) =>
      Object.keys(bundle ?? {})
        .filter((file) => /inter-latin-wght-normal.*\.woff2$/.test(file))
        .map((file) => ({
          tag: 'link',
          attrs: { rel: 'preload', as: 'font', type: 'font/woff2', href: `/console/${file}`, crossorigin: '' },
          injectTo: 'head' as const,
        })),
  },
};

export default defineConfig({
  base: '/console/',
  plugins: [preloadFont],
  esbuild: { jsx: 'automatic' },
  build: {
    target: 'es2022',
    // The page's policy allows nothing that is written into it: no inline assets, no inline scripts.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: {
    proxy: Object.fromEntries(
      ['/v1', '/readyz'].map((path) => [path, process.env.LARR_URL ?? 'http://127.0.0.1:8080']),
    ),
  },
});
