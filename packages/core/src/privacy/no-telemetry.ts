/*
 * onnxruntime's builds of 1.30 tell Microsoft of every process, session and model on Linux too, and keep an id of the machine in the user's cache, unless
 * this is set before their first session (github.com/microsoft/onnxruntime, pull request 27379). What a company ranks, and where, is nobody else's
 * business. Whoever sets the variable decides.
 */
process.env.ORT_DISABLE_TELEMETRY ??= '1';
