/** A thread that takes the SHA-256 of files, one after another (openBundle's `later`). */
import { parentPort, workerData } from 'node:worker_threads';
import { digestFile } from './digest.js';

const digests: string[] = [];
for (const file of workerData as string[]) digests.push((await digestFile(file)).sha256);
parentPort!.postMessage(digests);
