// The `larr` command. Each command is a file of `commands/`; what they do lives in the domain's own folders.
import { readFileSync } from 'node:fs';
import { exitCode, launchOf } from '@larr/core';
import { Command, CommanderError } from 'commander';
import { fail, firstSpeaks, refuseLaunch } from './command-context.js';
import { registerAblate } from './commands/ablate.js';
import { registerAbtest } from './commands/abtest.js';
import { registerCompare } from './commands/compare.js';
import { registerDemo } from './commands/demo.js';
import { registerDoctor } from './commands/doctor.js';
import { registerEmbed } from './commands/embed.js';
import { registerEvaluate } from './commands/evaluate.js';
import { registerEvents } from './commands/events.js';
import { registerExport } from './commands/export.js';
import { registerFinetune } from './commands/finetune.js';
import { registerImport } from './commands/import.js';
import { registerInit } from './commands/init.js';
import { registerPrepare } from './commands/prepare.js';
import { registerPretrain } from './commands/pretrain.js';
import { registerRecall } from './commands/recall.js';
import { registerServe } from './commands/serve.js';
import { registerSweep } from './commands/sweep.js';
import { registerTrain } from './commands/train.js';
import { registerTune } from './commands/tune.js';
import { registerWorld } from './commands/world.js';

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

const launch = launchOf();
/** Every process of a launch finds the same wrong usage: the first one says so. */
const speaks = launch === null || launch.rank === 0;

const program = new Command('larr')
  .configureOutput(speaks ? {} : { writeOut: () => {}, writeErr: () => {} })
  .description('Real-time scene recommendation helped by a language model')
  .version(version)
  .showSuggestionAfterError()
  .showHelpAfterError('(`larr <command> --help` lists the options)')
  .addHelpText(
    'after',
    '\nExit status: 0 done; 1 the work failed (what a file holds, the training, the machine); 2 the command or a file of settings has to be changed.',
  )
  .enablePositionalOptions();

for (const register of [
  registerWorld,
  registerImport,
  registerInit,
  registerPrepare,
  registerPretrain,
  registerFinetune,
  registerEmbed,
  registerTrain,
  registerCompare,
  registerAblate,
  registerSweep,
  registerTune,
  registerEvaluate,
  registerRecall,
  registerExport,
  registerServe,
  registerEvents,
  registerAbtest,
  registerDemo,
  registerDoctor,
])
  register(program);

// Commander would exit with 1 on wrong usage, which is 2 (`exitCode`). Sub-commands need the same.
for (const command of [program, ...program.commands, ...program.commands.flatMap(({ commands }) => commands)])
  command.exitOverride();

/** Commands that the processes of one launch do together. */
const together = new Set(['pretrain', 'finetune']);
program.hook('preAction', (_, command) => {
  const name = command.name();
  if (launch !== null && !together.has(name) && !(name === 'embed' && command.opts().shard !== undefined))
    refuseLaunch(name, launch);
});

const json = process.argv.includes('--json');
try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError && error.exitCode === 0) process.exitCode = 0;
  else if (!speaks) {
    process.exitCode = error instanceof CommanderError ? 2 : exitCode(error);
    await firstSpeaks();
  } else if (error instanceof CommanderError) reportUsage(error);
  else fail(error, json);
}

/** Commander has told people already; programs get the document that every error has. */
function reportUsage({ code, message }: CommanderError): void {
  process.exitCode = 2;
  if (!json) return;
  // `commander.unknownOption`, "error: unknown option '--colour'"
  const error = {
    code: code
      .replace(/^commander\./, '')
      .replace(/[A-Z]/g, (letter) => `_${letter}`)
      .toUpperCase(),
    message: message.replace(/^error: /, ''),
  };
  process.stdout.write(`${JSON.stringify({ error })}\n`);
}
