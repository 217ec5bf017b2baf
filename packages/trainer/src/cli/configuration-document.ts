// docs/configuration.md, written from the schemas that `--config` is checked with, so that the two cannot drift.
import { z } from 'zod';
import { ConfigurationShape } from './configuration.js';

interface Node {
  type?: string;
  description?: string;
  default?: unknown;
  properties?: Record<string, Node>;
  items?: Node;
  enum?: unknown[];
  pattern?: string;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
}

const head = `# Configuration

\`--config FILE\` names one JSON file with a section for each stage. Every section and setting may be left out; a command reads the
sections it needs and checks them all, and tells every setting that does not exist or has a wrong value, with exit status 2.

\`\`\`json
{
  "pretrain": { "tokens": 100000, "decoder": { "hiddenSize": 64, "layers": 2 } },
  "finetune": { "steps": 100 },
  "train": { "batchSize": 256, "epochs": 2, "learningRate": 0.002 }
}
\`\`\`

A setting with a dot in its name stands inside another: \`decoder.layers\` is \`"decoder": { "layers": … }\`. A setting of \`train\` is what
makes the model's variant, where it is one (an ablation stays what its name says); else what this file says of the model (\`train.models\`); else
what it says of all; else what the dataset recommends (\`training\` in its schema); else the default.

<!-- Written from the schemas by packages/trainer/scripts/write-configuration-document.mjs; a test holds it to them. -->
`;

/** The whole document as Markdown. */
export function configurationDocument(): string {
  const { properties = {} } = z.toJSONSchema(ConfigurationShape, { io: 'input' }) as Node;
  const sections = Object.entries(properties).map(([name, section]) => {
    const readBy = ConfigurationShape.shape[name as keyof typeof ConfigurationShape.shape].description;
    const rows = settings(section, '').map(
      ({ path, node }) => `| \`${path}\` | ${defaultOf(node)} | ${rangeOf(node)} | ${meaningOf(path, node)} |`,
    );
    return `## \`${name}\`\nRead by ${readBy}.\n\n| setting | default | values | meaning |\n|---|---|---|---|\n${rows.join('\n')}\n`;
  });
  return `${head}\n${sections.join('\n')}`;
}

/** The leaves of a section by their dotted paths. */
function settings(node: Node, path: string): { path: string; node: Node }[] {
  return Object.entries(node.properties ?? {}).flatMap(([name, inner]) => {
    const at = path === '' ? name : `${path}.${name}`;
    return inner.properties === undefined ? [{ path: at, node: inner }] : settings(inner, at);
  });
}

function meaningOf(path: string, { description }: Node): string {
  if (description === undefined) throw new Error(`the setting ${path} says nothing of what it means: describe() it`);
  return description.replaceAll('|', '\\|');
}

function defaultOf(node: Node): string {
  return node.default === undefined ? '–' : `\`${JSON.stringify(node.default)}\``;
}

function rangeOf(node: Node): string {
  if (node.enum !== undefined) return node.enum.map((value) => `\`${JSON.stringify(value)}\``).join(', ');
  if (node.type === 'array') return `list: ${rangeOf(node.items ?? {})}`;
  if (node.type === 'boolean') return '`true`, `false`';
  if (node.type === 'string') return 'text';
  if (node.type === 'object') return 'settings by name';
  const limits = [
    node.minimum !== undefined && node.minimum !== Number.MIN_SAFE_INTEGER ? `≥ ${node.minimum}` : '',
    node.exclusiveMinimum !== undefined ? `> ${node.exclusiveMinimum}` : '',
    node.maximum !== undefined && node.maximum !== Number.MAX_SAFE_INTEGER ? `≤ ${node.maximum}` : '',
    node.exclusiveMaximum !== undefined ? `< ${node.exclusiveMaximum}` : '',
  ].filter((limit) => limit !== '');
  return [node.type === 'integer' ? 'whole' : 'number', ...limits].join(' ');
}
