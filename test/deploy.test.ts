import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { wholeApi } from '@larr/server/whole-api';
import { ValidationSeverity, validate } from 'dockerfile-utils';
import { beforeAll, describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { root } from './larr.js';

const directory = join(root, 'deploy', 'kubernetes');

// biome-ignore lint/suspicious/noExplicitAny: manifests are checked by their schemas first
type Manifest = any;

const files = readdirSync(directory);
const manifests: { file: string; manifest: Manifest }[] = files.flatMap((file) =>
  // as Kubernetes reads it: YAML 1.1, in which 0440 is octal
  parseAllDocuments(readFileSync(join(directory, file), 'utf8'), { version: '1.1', uniqueKeys: true }).map(
    (document) => {
      expect(document.errors).toEqual([]);
      return { file, manifest: document.toJS() };
    },
  ),
);
const of = (kind: string): Manifest[] =>
  manifests.flatMap(({ manifest }) => (manifest.kind === kind ? [manifest] : []));
const workloads = [...of('Deployment'), ...of('StatefulSet')];

/** Options that the program takes, from its own help. */
let options: Set<string>;
beforeAll(() => {
  const help = spawnSync(process.execPath, [join(root, 'packages', 'server', 'bin', 'larr-server.mjs'), '--help'], {
    encoding: 'utf8',
  });
  options = new Set(help.stderr.match(/--[a-z-]+/g));
  expect(options.size).toBeGreaterThan(10);
});

describe('the Kubernetes manifests', () => {
  it.each(manifests.filter(({ manifest }) => manifest.kind !== 'Kustomization'))(
    '$file: $manifest.kind fits its schema',
    async ({ manifest }) => {
      const kinds = (await import(/* @vite-ignore */ `kubernetes-models/${manifest.apiVersion}`)) as Record<
        string,
        new (
          data: object,
        ) => { validate(): void }
      >;
      const Kind = kinds[manifest.kind]!;
      expect(() => new Kind(manifest).validate()).not.toThrow();
    },
  );

  it('are schemas that refuse something', async () => {
    const { Deployment } = await import('kubernetes-models/apps/v1');
    const broken = structuredClone(of('Deployment')[0]);
    broken.spec.template.spec.containers[0].ports[0].containerPort = 'http';
    expect(() => new Deployment(broken).validate()).toThrow(/containerPort/);
  });

  it('are all in the kustomization, which names no other', () => {
    expect([...of('Kustomization')[0].resources].sort()).toEqual(
      files.filter((file) => file !== 'kustomization.yaml').sort(),
    );
  });

  it('select what is there: pods, ports, config keys, volumes, the scaled workload', () => {
    for (const { spec } of workloads) {
      const { labels } = spec.template.metadata;
      expect(labels).toMatchObject(spec.selector.matchLabels);
      const [container] = spec.template.spec.containers;
      const volumes = [
        ...(spec.template.spec.volumes ?? []),
        ...(spec.volumeClaimTemplates ?? []).map((claim: Manifest) => claim.metadata),
      ];
      expect(container.volumeMounts.map(({ name }: Manifest) => name).sort()).toEqual(
        volumes.map(({ name }: Manifest) => name).sort(),
      );
      const [configuration] = of('ConfigMap');
      for (const { valueFrom } of container.env)
        expect(configuration.data).toHaveProperty([valueFrom.configMapKeyRef.key]);
      for (const [, name] of container.args.join(' ').matchAll(/\$\((\w+)\)/g))
        expect(configuration.data).toHaveProperty([name]);
    }
    const pods = workloads.map(({ spec }) => spec.template);
    for (const { spec } of [...of('Service'), ...of('PodDisruptionBudget')]) {
      const wanted = spec.selector.matchLabels ?? spec.selector;
      const chosen = pods.filter(({ metadata }) =>
        Object.entries(wanted).every(([key, value]) => metadata.labels[key] === value),
      );
      expect(chosen).toHaveLength(1);
      const ports = chosen[0].spec.containers[0].ports.map(({ name }: Manifest) => name);
      for (const { targetPort } of spec.ports ?? []) expect(ports).toContain(targetPort);
    }
    for (const { spec } of of('HorizontalPodAutoscaler')) {
      const { kind, name } = spec.scaleTargetRef;
      const [target] = workloads.filter((workload) => workload.kind === kind && workload.metadata.name === name);
      expect(target.spec.replicas).toBeUndefined();
      expect(spec.minReplicas).toBeGreaterThan(1);
    }
    for (const { spec } of of('NetworkPolicy'))
      for (const { metadata } of pods) expect(metadata.labels).toMatchObject(spec.podSelector.matchLabels);
  });

  it('ask the program only for what it knows, and probe addresses that it has', async () => {
    const { paths } = (await wholeApi()) as { paths: object };
    for (const { spec } of workloads) {
      const [container] = spec.template.spec.containers;
      for (const arg of container.args) expect([...options]).toContain(arg.split('=', 1)[0]);
      const { startupProbe, readinessProbe, livenessProbe } = container;
      for (const probe of [startupProbe, readinessProbe, livenessProbe])
        expect(Object.keys(paths)).toContain(probe.httpGet.path);
      // a server that is busy, or loads a bundle, shall not be restarted
      expect(livenessProbe.httpGet.path).not.toBe(readinessProbe.httpGet.path);
    }
  });

  it('run as nobody in particular, write nothing, and keep what has to be kept', () => {
    for (const { kind, spec } of workloads) {
      const pod = spec.template.spec;
      const [container] = pod.containers;
      expect(pod.automountServiceAccountToken).toBe(false);
      expect(pod.securityContext).toMatchObject({ runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } });
      expect(container.securityContext).toEqual({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
      });
      expect(container.resources.limits.memory).toBeDefined();
      const preStop = Number(container.lifecycle.preStop.exec.command[1]);
      // the server itself takes up to ten seconds to finish what is in flight
      expect(pod.terminationGracePeriodSeconds).toBeGreaterThan(preStop + 10);
      expect(container.args.some((arg: string) => arg.startsWith('--events='))).toBe(kind === 'StatefulSet');
    }
  });
});

describe('the Dockerfile', () => {
  const text = readFileSync(join(root, 'deploy', 'Dockerfile'), 'utf8');
  const stages = text.split(/^FROM /m).slice(1);

  it('has nothing that a linter finds', () => {
    expect(
      validate(text, { ignoreCase: ValidationSeverity.ERROR }).map(
        ({ message, range }) => `${range.start.line + 1}: ${message}`,
      ),
    ).toEqual([]);
    expect(validate('FROM node\nRUNN x\n')).not.toEqual([]);
  });

  it('copies what is there, all of what the server needs, and installs with the tool of this repository', () => {
    const copied = [...text.matchAll(/^COPY (?!--from)(.+)$/gm)].flatMap(([, words]) => words!.split(' ').slice(0, -1));
    for (const source of copied) expect(existsSync(join(root, source))).toBe(true);
    const needed = new Set<string>();
    const need = (name: string): void => {
      if (needed.has(name)) return;
      needed.add(name);
      const { dependencies = {}, devDependencies = {} } = JSON.parse(
        readFileSync(join(root, 'packages', name, 'package.json'), 'utf8'),
      );
      for (const one of Object.keys({ ...dependencies, ...devDependencies }))
        if (one.startsWith('@larr/')) need(one.slice('@larr/'.length));
    };
    need('server');
    for (const name of needed)
      expect(copied).toEqual(expect.arrayContaining([`packages/${name}`, `packages/${name}/package.json`]));
    const ignored = readFileSync(join(root, 'deploy', 'Dockerfile.dockerignore'), 'utf8').split('\n');
    for (const source of copied.filter((one) => !one.endsWith('/package.json')))
      expect(ignored).toContain(`!${source}`);
    const { packageManager } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
    expect(text).toContain(`--no-audit ${packageManager}`);
  });

  it('runs as a user of a number other than 0, by options that the program knows', () => {
    const last = stages.at(-1)!;
    expect(last).toMatch(/^USER [1-9]\d*:[1-9]\d*$/m);
    expect(last).toMatch(/^HEALTHCHECK /m);
    const command = JSON.parse(/^CMD (\[.*\])$/m.exec(last)![1]!) as string[];
    for (const option of command.filter((word) => word.startsWith('--'))) expect([...options]).toContain(option);
    const health = JSON.parse(/^ +CMD (\["node", "-e".*\])$/m.exec(last)![1]!) as string[];
    // no server there: the probe must say so
    expect(spawnSync(process.execPath, health.slice(1), { timeout: 10_000 }).status).toBe(1);
  });
});
