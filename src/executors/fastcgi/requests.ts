import type { Clock } from "../../core/time/clock.ts";
import type { Job } from "../../core/job.ts";
import { payloadText } from "../../core/text/payload.ts";
import type { FastCgiRequest } from "../../fastcgi/connection.ts";
import { type EncodedParams, encodeParams } from "../../fastcgi/params.ts";
import type { BodyListener } from "../../fastcgi/response.ts";
import type { Batch, JobFailure, Run } from "../executor.ts";
import { BATCH_CONTENT_TYPE, encodeBatch, encodePostMortem, POST_MORTEM_CONTENT_TYPE } from "./batch.ts";
import { jobVariables } from "../job_variables.ts";

/*
 * What PHP is sent: docs/protocol.md, sections 1 and 7.
 */

export interface RequestOptions {
  /** SCRIPT_FILENAME. */
  readonly script: string;
  /** Further params of every request. */
  readonly params: Readonly<Record<string, string>>;
  /** The param that carries the payload instead of STDIN; "" for STDIN. */
  readonly payloadParam: string;
  /** The pool's own limit for the first byte of an answer, milliseconds; 0 for none. PHP gets the latest time to begin. */
  readonly firstByteTimeoutMs: number;
}

/**
 * Params that no configuration and no message sets: the executor sets them itself, or they would change php-fpm for all later
 * requests (PHP_VALUE), read a file on its machine (REQUEST_BODY_FILE) or redirect PHP's HTTP clients (HTTP_PROXY). All names
 * that begin with FERVO_ are reserved, too.
 */
export const RESERVED_PARAMS: readonly string[] = [
  "PHP_VALUE",
  "PHP_ADMIN_VALUE",
  "REQUEST_BODY_FILE",
  "HTTP_PROXY",
  "SCRIPT_FILENAME",
  "SCRIPT_NAME",
  "REQUEST_METHOD",
  "REQUEST_URI",
  "QUERY_STRING",
  "CONTENT_LENGTH",
  "CONTENT_TYPE",
  "GATEWAY_INTERFACE",
  "SERVER_PROTOCOL",
  "SERVER_SOFTWARE",
  "HTTP_TRACEPARENT",
  "HTTP_TRACESTATE",
];

const EMPTY = new Uint8Array(0);

/**
 * Makes the requests for jobs; the shared part is encoded once.
 *
 * @throws {FastCgiError} FASTCGI_PARAM_TOO_LARGE when the configured params do not fit one record; the returned function throws
 * JOB_MALFORMED when the payload cannot be sent as a param.
 */
export function jobRequests(
  { script, params, payloadParam, firstByteTimeoutMs }: RequestOptions,
  clock: Clock,
): (job: Job, run?: Run) => FastCgiRequest {
  const shared: EncodedParams = encodeParams(sharedParams(script, params));
  const isBody = payloadParam === "";
  return (job, run) => {
    const uri = uriOf(job);
    const own = jobVariables(job);
    own.push(
      ["REQUEST_URI", uri],
      // FPM's status page and access log show this as the request (fpm_main.c, init_request_info).
      ["SCRIPT_NAME", uri],
      ["CONTENT_LENGTH", String(isBody ? job.payload.length : 0)],
    );
    if (firstByteTimeoutMs > 0) {
      own.push(["FERVO_START_BY", String(Math.min(clock.nowMs() + firstByteTimeoutMs, job.deadlineMs))]);
    }
    if (job.traceparent !== undefined) own.push(["HTTP_TRACEPARENT", job.traceparent]);
    if (job.tracestate !== undefined) own.push(["HTTP_TRACESTATE", job.tracestate]);
    if (!isBody) own.push([payloadParam, payloadText(job.payload, `the param "${payloadParam}"`)]);
    return { sharedParams: shared, params: own, body: isBody ? job.payload : EMPTY, run };
  };
}

/**
 * Makes the requests for batches; the shared part is encoded once.
 *
 * @throws {FastCgiError} FASTCGI_PARAM_TOO_LARGE when the configured params do not fit one record
 */
export function batchRequests(
  { script, params, firstByteTimeoutMs }: RequestOptions,
  clock: Clock,
): (batch: Batch, onBody: BodyListener, run?: Run) => FastCgiRequest {
  const shared = encodeParams({ ...sharedParams(script, params), CONTENT_TYPE: BATCH_CONTENT_TYPE });
  return (batch, onBody, run) => {
    const uri = uriOfBatch(batch.jobs);
    const { deadlineMs } = batch.jobs[0]!;
    const body = encodeBatch(batch);
    const own: [string, string][] = [
      ["REQUEST_URI", uri],
      ["SCRIPT_NAME", uri],
      ["CONTENT_LENGTH", String(body.length)],
      ["FERVO_BATCH", String(batch.jobs.length)],
      ["FERVO_DEADLINE", String(deadlineMs)],
    ];
    if (firstByteTimeoutMs > 0) {
      own.push(["FERVO_START_BY", String(Math.min(clock.nowMs() + firstByteTimeoutMs, deadlineMs))]);
    }
    return { sharedParams: shared, params: own, body, onBody, run };
  };
}

/**
 * Makes post-mortem requests; the shared part is encoded once.
 *
 * A script that does not support them finds no param of a job, and nothing that it could take for one.
 *
 * @throws {FastCgiError} FASTCGI_PARAM_TOO_LARGE when the configured params do not fit one record
 */
export function postMortemRequests(
  { script, params }: RequestOptions,
): (job: Job, failure: JobFailure, onBody: BodyListener) => FastCgiRequest {
  const shared = encodeParams({ ...sharedParams(script, params), CONTENT_TYPE: POST_MORTEM_CONTENT_TYPE });
  return (job, failure, onBody) => {
    const body = encodePostMortem(job, failure);
    const uri = uriOfPostMortem(job);
    const own: [string, string][] = [
      ["REQUEST_URI", uri],
      ["SCRIPT_NAME", uri],
      ["CONTENT_LENGTH", String(body.length)],
      ["FERVO_POST_MORTEM", "1"],
    ];
    return { sharedParams: shared, params: own, body, onBody };
  };
}

/** The latest time for PHP to begin such a request, epoch milliseconds. */
export function startByOf({ params }: FastCgiRequest): number {
  const facts = Object.fromEntries(params);
  return Number(facts["FERVO_START_BY"] ?? facts["FERVO_DEADLINE"]);
}

/** The name of the job in php-fpm's access log and status page. */
export function uriOf(job: Job): string {
  return `/${uriPart(job.queue)}/${uriPart(job.id)}`;
}

/** Most names and ids need no encoding in a URI; this test is cheaper than to encode. */
const PLAIN = /^[\w.~-]*$/;

/** A lone surrogate, which has no bytes, becomes U+FFFD, as in params. */
function uriPart(text: string): string {
  return PLAIN.test(text) ? text : encodeURIComponent(text.toWellFormed());
}

/** The same for a batch: its first job, and the number of others. */
export function uriOfBatch(jobs: readonly Job[]): string {
  return `${uriOf(jobs[0]!)}+${jobs.length - 1}`;
}

/** The same for a post-mortem. */
export function uriOfPostMortem(job: Job): string {
  return `${uriOf(job)}/post-mortem`;
}

/**
 * The request that checks the front controller; it runs no job. A script that does not know FERVO_CHECK finds no payload, no
 * id, and a deadline in the past.
 */
export function checkRequest(script: string, params: Readonly<Record<string, string>>): FastCgiRequest {
  return {
    sharedParams: encodeParams(sharedParams(script, params)),
    params: [
      ["REQUEST_URI", "/fervo-check"],
      ["SCRIPT_NAME", "/fervo-check"],
      ["CONTENT_LENGTH", "0"],
      ["FERVO_CHECK", "1"],
      ["FERVO_DEADLINE", "0"],
    ],
    body: EMPTY,
  };
}

function sharedParams(script: string, params: Readonly<Record<string, string>>): Record<string, string> {
  return {
    GATEWAY_INTERFACE: "CGI/1.1",
    SERVER_PROTOCOL: "HTTP/1.1",
    SERVER_SOFTWARE: "fervo-worker",
    REQUEST_METHOD: "POST",
    SCRIPT_FILENAME: script,
    QUERY_STRING: "",
    // Not a form: PHP would parse it, and count its fields against max_input_vars.
    CONTENT_TYPE: "application/octet-stream",
    ...params,
  };
}
