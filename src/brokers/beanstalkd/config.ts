import type { PlainFormat } from "../../core/format.ts";
import { readable, wholeNumber } from "../../core/option.ts";
import { envelope } from "../../formats/envelope.ts";
import { raw } from "../../formats/raw.ts";
import { formatAddress, MAX_SOCKET_PATH_BYTES, parseAddress } from "../../net/address.ts";
import type { BrokerType } from "../broker_type.ts";
import {
  BEANSTALKD_CAPABILITIES,
  BeanstalkdBroker,
  type BeanstalkdBrokerOptions,
  DEFAULT_BEANSTALKD_OPTIONS,
} from "./broker.ts";
import { whyTubeIsRefused } from "./mapping.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const ADDRESS =
  'expected host and port such as "127.0.0.1:11300", or a socket\'s absolute path such as "/run/beanstalkd.sock"';

const options = {
  address: readable(
    parseAddress,
    (written) =>
      /^(?:unix:)?\//.test(written)
        ? `expected a socket's path of at most ${MAX_SOCKET_PATH_BYTES} bytes`
        : ADDRESS,
    formatAddress(DEFAULT_BEANSTALKD_OPTIONS.address),
  ),
  ttr_ms: wholeNumber(1_000, 7 * 24 * HOUR_MS, DEFAULT_BEANSTALKD_OPTIONS.ttrMs),
  connect_timeout_ms: wholeNumber(1, 10 * MINUTE_MS, DEFAULT_BEANSTALKD_OPTIONS.connectTimeoutMs),
  keepalive_ms: wholeNumber(0, HOUR_MS, DEFAULT_BEANSTALKD_OPTIONS.keepaliveMs),
  max_payload_bytes: wholeNumber(1, 1_000_000_000, DEFAULT_BEANSTALKD_OPTIONS.maxPayloadBytes),
};

export const BEANSTALKD: BrokerType<typeof options, BeanstalkdBrokerOptions> = {
  driver: "beanstalkd",
  page: "beanstalkd",
  formats: { raw, envelope },
  defaultFormat: "raw",
  capabilities: BEANSTALKD_CAPABILITIES,
  ownership: () => ({ attempts: "broker", retry: "worker", dead: "broker" }),
  options,
  settings: (values) => ({
    address: parseAddress(values.address),
    ttrMs: values.ttr_ms,
    connectTimeoutMs: values.connect_timeout_ms,
    keepaliveMs: values.keepalive_ms,
    maxPayloadBytes: values.max_payload_bytes,
  }),
  whyQueueIsRefused(queue) {
    const reason = whyTubeIsRefused(queue);
    return reason && `cannot be a tube: ${reason}`;
  },
  open: (deps, settings, format) =>
    new BeanstalkdBroker({ ...deps, format: format as PlainFormat }, settings),
  fixOf: (_error, _settings, place) =>
    `start it, for instance with: systemctl start beanstalkd; or ${place} address = where it listens`,
  // One that waits, and one for each running job of a wait.
  descriptors: ({ concurrency }) => 1 + concurrency,
  findings: {
    "beanstalkd.draining": { looksAt: "beanstalkd is not in drain mode, in which it takes no new jobs." },
    "beanstalkd.persistence": {
      looksAt: "It was started with `-b` and keeps a log. Without one, all jobs are lost when it ends.",
    },
    "beanstalkd.job_size": {
      looksAt: "It takes jobs of up to `max_payload_bytes`: its `-z` is not below that.",
    },
  },
  units: ["beanstalkd.service"],
  isShared: true,
};
