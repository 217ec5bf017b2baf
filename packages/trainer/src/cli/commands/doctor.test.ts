import { deviceInfo } from '@larr/native-cuda';
import { expect, it } from 'vitest';
import { examine, kernelFindings } from './doctor.js';

const found = (findings: { name: string; found: string | null }[], name: string) =>
  findings.find((finding) => finding.name === name)?.found;

it('tells of each kernel where it runs: LARR_DEVICE moves InfoNCE and the scene encoder', () => {
  const here = deviceInfo();
  const gpu = { index: 1, name: 'GPU X', computeCapability: '9.0', multiprocessors: 132, memory: 80 * 2 ** 30 };
  const there = kernelFindings({ ...here, device: 'cuda:1', cuda: { compiled: true, devices: [gpu] } });
  expect(found(there, 'InfoNCE kernel')).toContain('cuda:1');
  expect(found(there, 'scene encoder')).toContain('cuda:1');
  expect(found(kernelFindings({ ...here, device: 'cpu' }), 'scene encoder')).toBe(
    `CPU, ${here.isa}, ${here.threads} threads`,
  );
  expect(found(there, 'CUDA kernels')).toContain('cuda:1 GPU X (9.0, 80 GiB)');
});

it('finds what LARR was built with', async () => {
  const { ok, findings } = await examine();
  expect(ok).toBe(true);
  expect(found(findings, 'LibTorch')).toMatch(/^2\.\d+\.\d+\S* \((CPU|CUDA \d+\.\d+; .+)\)$/);
  expect(found(findings, 'scene encoder')).toMatch(/^CPU, /);
}, 60_000);
