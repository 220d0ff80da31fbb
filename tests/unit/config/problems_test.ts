import assert from "node:assert/strict";
import { RENAMED } from "../../../src/config/problems.ts";
import { ANY_DRIVER, BROKER, CONSUMER, FPM, problemsIn, PROCESS } from "./support.ts";

/** Lines without their `fervo.toml:`. */
const cases: [claim: string, text: string, problems: string[]][] = [
  ["an empty file", "", [
    '1:1: missing key "brokers" at the top level: expected at least one broker: begin a table [brokers.default]',
    '1:1: missing key "consumers" at the top level: expected at least one consumer: begin a table [[consumers]], ' +
    'with two brackets, and give it queues = ["default"]',
    '1:1: missing key "fpm" at the top level: expected at least one php-fpm pool: begin a table [fpm.default]',
  ]],
  ["tables without a name", "[brokers]\ndriver = 'sqlite'\n[fpm]\n[consumers]\nqueues = ['a']\n", [
    '2:1: brokers.driver is "sqlite": expected a table of a broker\'s settings, as in [brokers.default]',
    "3:1: fpm is an empty table: expected at least one php-fpm pool: begin a table [fpm.default]",
    "4:1: consumers is a table: expected at least one consumer: begin a table [[consumers]], with two brackets, " +
    'and give it queues = ["default"]',
  ]],

  // Unknown keys
  ["a misspelt key", `${FPM}conect_timeout_ms = 5\n${BROKER}${CONSUMER}`, [
    '4:1: unknown key "conect_timeout_ms" in [fpm.default]; did you mean "connect_timeout_ms"?',
  ]],
  ["a misspelt table", `[broker.default]\n${BROKER}${FPM}${CONSUMER}[logs]\n`, [
    '1:1: unknown key "broker" at the top level; did you mean "brokers"?',
    '10:1: unknown key "logs" at the top level; did you mean "log"?',
  ]],
  ["a key without its unit", `${BROKER}lease = 5\n${FPM}${CONSUMER}timeout = 5\n`, [
    '4:1: unknown key "lease" in [brokers.default]; did you mean "lease_ms"?',
    '10:1: unknown key "timeout" in [[consumers]]; did you mean "timeout_ms"?',
  ]],
  ["keys in a wrong table", `${BROKER}shutdown_timeout_ms = 5\n${FPM}${CONSUMER}retry.concurrency = 4\n`, [
    '4:1: unknown key "shutdown_timeout_ms" in [brokers.default]; it belongs at the top, above the first [table]',
    '10:7: unknown key "concurrency" in [consumers.retry]; it belongs in [[consumers]]',
  ]],
  ["a key by its former name", `${BROKER}dialect = "raw"\n${FPM}${CONSUMER}`, [
    '4:1: "dialect" in [brokers.default] is called "format" now: rename it',
  ]],
  ["a key like no other", `${BROKER}${FPM}${CONSUMER}[log]\ncolour = true\nlevel = "info"\n"a b" = 1`, [
    '10:1: unknown key "colour" in [log]; remove it; known here: level, format',
    '12:1: unknown key "a b" in [log]; remove it; known here: level, format',
  ]],
  [
    "a misspelt key of an inline table",
    `${BROKER}${FPM}[[consumers]]\nqueues = [{ name = "a", wieght = 1 }]\n`,
    [
      '8:25: unknown key "wieght" in queues[0]; did you mean "weight"?',
    ],
  ],
  [
    "__proto__ as a name",
    `[brokers.__proto__]\n[log.__proto__]\n${BROKER}${FPM}${CONSUMER}broker = "__proto__"\n`,
    [
      '2:1: unknown key "__proto__" in [log]; remove it; known here: level, format',
      '11:1: broker is "__proto__": there is no [brokers.__proto__]; expected "default"',
    ],
  ],

  // Missing keys and wrong values
  ["missing keys, at their table", `${CONSUMER}[[consumers]]\nname = "b"\n[brokers.a]\n[fpm.a]\n`, [
    '3:1: missing key "queues" in [[consumers]]: expected a list of at least one queue, such as ["default"]',
    `5:1: missing key "driver" in [brokers.a]: expected ${ANY_DRIVER}`,
    '6:1: missing key "address" in [fpm.a]: expected a socket\'s absolute path such as "/run/php/fervo.sock", ' +
    'or host and port such as "127.0.0.1:9000"',
    '6:1: missing key "script" in [fpm.a]: expected an absolute path as php-fpm sees it, ' +
    'such as "/srv/app/fervo.php"',
  ]],
  [
    "wrong types",
    `shutdown_timeout_ms = 1979-05-27\nlog = 3\n${BROKER}${FPM}${CONSUMER}retry.attempts = "five"\n`,
    [
      "1:1: shutdown_timeout_ms is a date: expected a whole number from 0 to 86400000",
      "2:1: log is 3: expected a table",
      '11:7: retry.attempts is "five": expected a whole number of at least 1',
    ],
  ],
  ["a number beyond two limits, once", `shutdown_timeout_ms = 1e300\n${BROKER}${FPM}${CONSUMER}`, [
    "1:1: shutdown_timeout_ms is 1e+300: expected a whole number from 0 to 86400000",
  ]],
  ["an unknown driver", `[brokers.a]\ndriver = "sqlit"\n${FPM}${CONSUMER}`, [
    `2:1: brokers.a.driver is "sqlit": expected ${ANY_DRIVER}`,
  ]],
  [
    "an unknown format",
    `[brokers.a]\ndriver = "sqlite"\npath = ":memory:"\nformat = "rwa"\n${FPM}${CONSUMER}`,
    [
      '4:1: brokers.a.format is "rwa": expected "raw", "envelope" or "messenger"',
    ],
  ],
  [
    "a broker's wrong values",
    `[brokers.a]\ndriver = "sqlite"\npath = ":memory:"\nformat = "raw"\nlease_ms = 999\nbusy_timeout_ms = 0.5\n` +
    `file_mode = "0400"\nmax_payload_bytes = 0\n${FPM}${CONSUMER}`,
    [
      '3:1: brokers.a.path is ":memory:": expected a file\'s path, such as "/var/lib/fervo-worker/queue.sqlite"',
      "5:1: brokers.a.lease_ms is 999: expected a whole number from 1000 to 86400000",
      "6:1: brokers.a.busy_timeout_ms is 0.5: expected a whole number from 0 to 600000",
      '7:1: brokers.a.file_mode is "0400": expected an octal mode that lets the owner read and write, such as "0600"',
      "8:1: brokers.a.max_payload_bytes is 0: expected a whole number from 1 to 1000000000",
    ],
  ],
  [
    "a beanstalkd's wrong values",
    `[brokers.a]\ndriver = "beanstalkd"\naddress = "localhost"\nttr_ms = 999\nconnect_timeout_ms = 0\n` +
    `max_payload_bytes = 0\npath = "x"\n${FPM}${CONSUMER}`,
    [
      '3:1: brokers.a.address is "localhost": expected host and port such as "127.0.0.1:11300", or a socket\'s absolute ' +
      'path such as "/run/beanstalkd.sock"',
      "4:1: brokers.a.ttr_ms is 999: expected a whole number from 1000 to 604800000",
      "5:1: brokers.a.connect_timeout_ms is 0: expected a whole number from 1 to 600000",
      "6:1: brokers.a.max_payload_bytes is 0: expected a whole number from 1 to 1000000000",
      '7:1: unknown key "path" in [brokers.a]; it belongs in [brokers.NAME] with driver = "sqlite"',
    ],
  ],
  [
    "a header of traces that cannot be sent, without its text",
    `[tracing]\nendpoint = "http://127.0.0.1:4318/v1/traces"\n[tracing.headers]\nAuthorization = "hush\\n"\n` +
    `${BROKER}${FPM}${CONSUMER}`,
    [
      "4:1: tracing.headers.Authorization is not usable: expected a header's text in quotes, of visible ASCII",
    ],
  ],
  [
    "a Redis's wrong values, without secrets",
    `[brokers.a]\ndriver = "redis"\nurl = "http://me:hush@host"\nformat = "raw"\npassword = 5\nlease_ms = 1\n` +
    `sentinels = ["a b"]\ncluster = 1\n${FPM}${CONSUMER}`,
    [
      '3:1: brokers.a.url is "http://…@host": expected an address such as "redis://127.0.0.1:6379/0", ' +
      '"rediss://host:6380" for TLS, or "unix:///run/redis.sock"',
      '4:1: brokers.a.format is "raw": expected "sidekiq6", "sidekiq7" or "sidekiq8"',
      "5:1: brokers.a.password is not usable: expected a password in quotes, best from the environment, as in " +
      '"${REDIS_PASSWORD}"',
      "6:1: brokers.a.lease_ms is 1: expected a whole number from 1000 to 86400000",
      '7:1: sentinels need the name of the master that they watch: set master, such as master = "mymaster"',
      '7:14: brokers.a.sentinels[0] is "a b": expected a list of hosts and ports, such as ["10.0.0.1:26379"]',
      "8:1: brokers.a.cluster is 1: expected true or false",
    ],
  ],
  [
    "an address without its scheme, also without what is before the @",
    `[brokers.a]\ndriver = "redis"\nurl = "me:hush@host"\n${FPM}${CONSUMER}`,
    [
      '3:1: brokers.a.url is "…@host": expected an address such as "redis://127.0.0.1:6379/0", ' +
      '"rediss://host:6380" for TLS, or "unix:///run/redis.sock"',
    ],
  ],
  [
    "keys of a Redis that do not go together",
    `[brokers.a]\ndriver = "redis"\nurl = "redis://u:p@h/1"\nusername = "x"\npassword = "y"\npassword_file = "z"\n` +
    `ca_file = "c"\nmaster = "m"\nsentinel_password = "s"\ncluster = true\n${FPM}${CONSUMER}`,
    [
      "3:1: a cluster has no databases: remove the number from the url",
      "4:1: the url has a username too: set only one of them",
      "5:1: the url has a password too: set only one of them",
      "6:1: set either password or password_file, not both",
      "6:1: the url has a password too: set only one of them",
      "7:1: ca_file has no effect without TLS: begin the url with rediss://, or remove ca_file",
      "8:1: master has no effect without sentinels: add them, or remove it",
      "9:1: sentinel_password has no effect without sentinels: add them, or remove it",
      "10:1: a cluster must keep all keys on one server, because each command uses several: give key_prefix a part in " +
      'braces, such as key_prefix = "{jobs}:". Producers must use the same prefix',
    ],
  ],
  [
    "queues that cannot be tubes of their beanstalkd",
    `[brokers.a]\ndriver = "beanstalkd"\n${BROKER}${FPM}[[consumers]]\nbroker = "a"\n` +
    `queues = ["a:b", "ok", { name = "-c" }]\n[[consumers]]\nbroker = "default"\nqueues = ["d:e"]\n`,
    [
      '11:11: queue "a:b" cannot be a tube: beanstalkd\'s tubes have 1 to 200 characters of A-Z a-z 0-9 + / ; . $ _ ( ) - ' +
      "and do not begin with -",
      '11:26: queue "-c" cannot be a tube: beanstalkd\'s tubes have 1 to 200 characters of A-Z a-z 0-9 + / ; . $ _ ( ) - ' +
      "and do not begin with -",
    ],
  ],
  [
    "a pool's wrong values",
    `[fpm.a]\naddress = "run/fpm.sock"\nscript = "a.php"\nstatus_path = "status"\nping_path = "ping"\nchildren = -1\n` +
    `connect_timeout_ms = 0\nidle_ms = -1\nmax_response_bytes = 1023\nmax_stderr_bytes = inf\n` +
    `max_header_bytes = 255\nfirst_byte_timeout_ms = -1\nstatus_address = "status"\nkill_on_timeout = "yes"\n` +
    `${BROKER}${CONSUMER}`,
    [
      '2:1: fpm.a.address is "run/fpm.sock": expected a socket\'s absolute path such as "/run/php/fervo.sock", ' +
      'or host and port such as "127.0.0.1:9000"',
      '3:1: fpm.a.script is "a.php": expected an absolute path as php-fpm sees it, such as "/srv/app/fervo.php"',
      '4:1: fpm.a.status_path is "status": expected php-fpm\'s pm.status_path, which begins with "/", or "" for none',
      '5:1: fpm.a.ping_path is "ping": expected php-fpm\'s ping.path, which begins with "/", or "" for none',
      "6:1: fpm.a.children is -1: expected a whole number from 0 to 100000",
      "7:1: fpm.a.connect_timeout_ms is 0: expected a whole number from 1 to 600000",
      "8:1: fpm.a.idle_ms is -1: expected a whole number from 0 to 3600000",
      "9:1: fpm.a.max_response_bytes is 1023: expected a whole number from 1024 to 1000000000",
      "10:1: fpm.a.max_stderr_bytes is Infinity: expected a whole number from 0 to 1000000000",
      "11:1: fpm.a.max_header_bytes is 255: expected a whole number from 256 to 1000000000",
      "12:1: fpm.a.first_byte_timeout_ms is -1: expected a whole number from 0 to 604800000",
      '13:1: fpm.a.status_address is "status": expected a socket\'s absolute path such as "/run/php/fervo.sock", ' +
      'or host and port such as "127.0.0.1:9000", or "" for the pool\'s own address',
      '14:1: fpm.a.kill_on_timeout is "yes": expected true or false',
    ],
  ],
  [
    "a consumer's wrong values",
    `[[consumers]]\nname = ""\nqueues = []\norder = "random"\nconcurrency = 0\ntimeout_ms = true\nack_on = "never"\n` +
    `pause_max_ms = 0\n[consumers.retry]\nattempts = 0\ndelay_ms = -1\nfactor = 0.5\nmax_delay_ms = "1h"\n` +
    `jitter = 1.5\n${BROKER}${FPM}`,
    [
      '2:1: name is "": expected 1 to 200 characters without control characters',
      '3:1: queues is an empty list: expected a list of at least one queue, such as ["default"]',
      '4:1: order is "random": expected "strict" or "weighted"',
      '5:1: concurrency is 0: expected a whole number from 1 to 10000, or "auto"',
      "6:1: timeout_ms is true: expected a whole number from 1 to 604800000",
      '7:1: ack_on is "never": expected "outcome" or "status"',
      "8:1: pause_max_ms is 0: expected a whole number from 1 to 3600000",
      "10:1: retry.attempts is 0: expected a whole number of at least 1",
      "11:1: retry.delay_ms is -1: expected a whole number from 0 to 31536000000",
      "12:1: retry.factor is 0.5: expected a number from 1 to 1000",
      '13:1: retry.max_delay_ms is "1h": expected a whole number from 0 to 31536000000',
      "14:1: retry.jitter is 1.5: expected a number from 0 to 1",
    ],
  ],
  [
    "bad queues",
    `${BROKER}${FPM}[[consumers]]\nqueues = [\n  "a b",\n  5,\n  { weight = 1 },\n  { name = "b", weight = 0 },\n  "${
      "q".repeat(129)
    }",\n]\norder = "weighted"\n`,
    [
      '9:3: queues[0] is "a b": expected a queue\'s name, 1 to 128 characters of A-Z a-z 0-9 . _ : -, such as "mail"',
      '10:3: queues[1] is 5: expected a queue\'s name, or a table such as { name = "mail", weight = 3 }',
      '11:3: missing key "name" in queues[2]: ' +
      'expected a queue\'s name, 1 to 128 characters of A-Z a-z 0-9 . _ : -, such as "mail"',
      "12:17: queues[3].weight is 0: expected a whole number of at least 1",
      `13:3: queues[4] is "${"q".repeat(80)}…": ` +
      'expected a queue\'s name, 1 to 128 characters of A-Z a-z 0-9 . _ : -, such as "mail"',
    ],
  ],
  ["a broker's name with a blank", `[brokers."a b"]\n${FPM}${CONSUMER}`, [
    '1:1: cannot use the name "a b" in [brokers]: expected 1 to 64 characters of A-Z a-z 0-9 . _ -',
  ]],

  // Params
  [
    "refused params, saying why",
    `${FPM}[fpm.default.params]\nPHP_VALUE = "a"\nREQUEST_BODY_FILE = "a"\nHttp_Proxy = "a"\nSCRIPT_FILENAME = "a"\n` +
    `CONTENT_LENGTH = "1"\nFERVO_X = "a"\nlower = "a"\nAPP_ENV = 5\n${BROKER}${CONSUMER}`,
    [
      '5:1: cannot use the name "PHP_VALUE" in [fpm.default.params]: it would change PHP\'s settings for every ' +
      "later request of the same child; set php_value[…] in php-fpm's pool file",
      '6:1: cannot use the name "REQUEST_BODY_FILE" in [fpm.default.params]: ' +
      "php-fpm would read that file instead of the job's payload; remove the param",
      '7:1: cannot use the name "Http_Proxy" in [fpm.default.params]: HTTP clients in PHP would use it as their ' +
      "proxy; if you want that, set env[http_proxy] in php-fpm's pool file",
      '8:1: cannot use the name "SCRIPT_FILENAME" in [fpm.default.params]: ' +
      "the script comes from the key script of the fpm table; set that key",
      '9:1: cannot use the name "CONTENT_LENGTH" in [fpm.default.params]: ' +
      "the worker sets it for every request; remove it",
      '10:1: cannot use the name "FERVO_X" in [fpm.default.params]: ' +
      "the worker reserves names that begin with FERVO_; choose another name",
      '11:1: cannot use the name "lower" in [fpm.default.params]: ' +
      "expected capital letters, digits and _, beginning with a letter, such as APP_ENV",
      "12:1: fpm.default.params.APP_ENV is 5: expected a text in quotes without NUL",
    ],
  ],
  [
    "refused names for the payload's param",
    `${BROKER}${FPM}${CONSUMER}payload_param = "REQUEST_URI"\n[[consumers]]\nqueues = ["b"]\npayload_param = "9"\n`,
    [
      '9:1: payload_param is "REQUEST_URI": the worker sets it for every request; remove it',
      '12:1: payload_param is "9": expected capital letters, digits and _, beginning with a letter, such as APP_ENV',
    ],
  ],

  // Processes
  [
    "a process's wrong values",
    `[processes.a]\npayload = "pipe"\npayload_variable = "PATH=x"\ndirectory = "app"\nkill_after_ms = -1\n` +
    `max_stderr_bytes = -1\n[processes.a.exit_codes]\n256 = "ack"\n07 = "ack"\n1 = "done"\n` +
    `[processes.b]\ncommand = []\n[processes.c]\ncommand = "php x"\n[processes.d]\ncommand = ["", "x"]\n` +
    `[processes.e]\ncommand = ["php", "a\\u0000", 5]\ncomand = 1\n${BROKER}${CONSUMER}executor = "process"\n` +
    `process = "a"\n`,
    [
      '1:1: missing key "command" in [processes.a]: expected a list of the program and its arguments, ' +
      'such as ["php", "/srv/app/bin/console", "app:job"]',
      '2:1: processes.a.payload is "pipe": expected "stdin", "argument" or "environment"',
      '3:1: processes.a.payload_variable is "PATH=x": ' +
      "expected letters, digits and _, not beginning with a digit, such as APP_ENV",
      '4:1: processes.a.directory is "app": ' +
      'expected an absolute path such as "/srv/app", or "" for the worker\'s own folder',
      "5:1: processes.a.kill_after_ms is -1: expected a whole number from 0 to 3600000",
      "6:1: processes.a.max_stderr_bytes is -1: expected a whole number from 0 to 1000000000",
      '8:1: cannot use the name "256" in [processes.a.exit_codes]: expected a number from 0 to 255',
      '9:1: cannot use the name "07" in [processes.a.exit_codes]: expected a number from 0 to 255',
      '10:1: processes.a.exit_codes.1 is "done": expected "ack", "retry" or "bury"',
      "12:1: processes.b.command is an empty list: expected a list of the program and its arguments, " +
      'such as ["php", "/srv/app/bin/console", "app:job"]',
      '14:1: processes.c.command is "php x": expected a list of the program and its arguments, ' +
      'such as ["php", "/srv/app/bin/console", "app:job"]',
      "16:1: processes.d.command is a list: expected a list of the program and its arguments, " +
      'such as ["php", "/srv/app/bin/console", "app:job"]',
      '18:19: processes.e.command[1] is "a\\u0000": expected a text in quotes without NUL',
      "18:30: processes.e.command[2] is 5: expected a text in quotes without NUL",
      '19:1: unknown key "comand" in [processes.e]; did you mean "command"?',
    ],
  ],
  [
    "refused variables, saying why",
    `${PROCESS}payload_variable = "FERVO_JOB_ID"\n[processes.default.env]\nFervo_Payload = "a"\nLD_PRELOAD = "a"\n` +
    `TRACEPARENT = "a"\n"A B" = "a"\nOK = 1\n[processes.b]\ncommand = ["b"]\npayload_variable = "LD_X"\n` +
    `${BROKER}${CONSUMER}executor = "process"\nprocess = "b"\n`,
    [
      '3:1: processes.default.payload_variable is "FERVO_JOB_ID": ' +
      "the worker reserves names that begin with FERVO_; choose another name",
      '5:1: cannot use the name "Fervo_Payload" in [processes.default.env]: ' +
      "the worker reserves names that begin with FERVO_; choose another name",
      '6:1: cannot use the name "LD_PRELOAD" in [processes.default.env]: it would load other code into the ' +
      "program; if you want that, set it in a script that the command runs",
      '7:1: cannot use the name "TRACEPARENT" in [processes.default.env]: ' +
      "the worker sets it for each job that has one; remove it",
      '8:1: cannot use the name "A B" in [processes.default.env]: ' +
      "expected letters, digits and _, not beginning with a digit, such as APP_ENV",
      "9:1: processes.default.env.OK is 1: expected a text in quotes without NUL",
      '12:1: processes.b.payload_variable is "LD_X": it would load other code into the program; ' +
      "if you want that, set it in a script that the command runs",
    ],
  ],
  [
    "what cannot be done with STDERR",
    `${BROKER}${FPM}max_stderr_bytes = 0\n${PROCESS}max_stderr_bytes = 0\n${CONSUMER}stderr_level = "notice"\n` +
    `fatal_after_ack = "fail"\n[[consumers]]\nqueues = ["b"]\nexecutor = "process"\nfatal_after_ack = "fail"\n` +
    `[[consumers]]\nqueues = ["c"]\nfatal_after_ack = "retry"\nstderr_levels = 1\n`,
    [
      '13:1: stderr_level is "notice": expected "debug", "info", "warn", "error" or "off"',
      "14:1: fatal_after_ack has no effect with max_stderr_bytes = 0 in [fpm.default]: remove one of them",
      "18:1: fatal_after_ack has no effect with max_stderr_bytes = 0 in [processes.default]: remove one of them",
      '21:1: fatal_after_ack is "retry": expected "warn" or "fail"',
      '22:1: unknown key "stderr_levels" in [[consumers]]; did you mean "stderr_level"?',
    ],
  ],
  ["an unknown executor, alone", `${BROKER}${PROCESS}${CONSUMER}executor = "proces"\nfpm = "x"\n`, [
    '8:1: executor is "proces": expected "fastcgi" or "process"',
  ]],
  [
    "consumers without what runs them",
    `${BROKER}${CONSUMER}[[consumers]]\nqueues = ["b"]\nexecutor = "process"\n`,
    [
      '1:1: missing key "fpm" at the top level: expected at least one php-fpm pool: begin a table [fpm.default]',
      '1:1: missing key "processes" at the top level: ' +
      "expected at least one process: begin a table [processes.default]",
    ],
  ],
  ["an empty table of processes", `[processes]\n${BROKER}${CONSUMER}executor = "process"\n`, [
    "1:1: processes is an empty table: expected at least one process: begin a table [processes.default]",
  ]],
  [
    "keys of the other executor",
    `${BROKER}${FPM}${PROCESS}${CONSUMER}executor = "process"\nfpm = "default"\nack_on = "status"\n` +
    `payload_param = "DATA"\nbatch_size = 2\n[[consumers]]\nqueues = ["b"]\nprocess = "default"\n`,
    [
      '12:1: fpm has no effect with executor = "process": remove it, or set executor = "fastcgi"',
      '13:1: ack_on has no effect with executor = "process": remove it, or set executor = "fastcgi"',
      '14:1: payload_param has no effect with executor = "process": remove it, or set executor = "fastcgi"',
      '15:1: batch_size has no effect with executor = "process": remove it, or set executor = "fastcgi"',
      '18:1: process has no effect with executor = "fastcgi": remove it, or set executor = "process"',
    ],
  ],
  [
    "a batch size with what knows one job only",
    `${BROKER}${FPM}${CONSUMER}batch_size = 2\nack_on = "status"\npayload_param = "DATA"\n` +
    `[[consumers]]\nqueues = ["b"]\nbatch_size = 1001\n[[consumers]]\nqueues = ["c"]\nbatch_size = 1\n` +
    `ack_on = "status"\npayload_param = "DATA"\n`,
    [
      "9:1: batch_size is 2, and one HTTP status cannot report several jobs (ack_on): set batch_size = 1, or remove ack_on",
      "9:1: batch_size is 2, and a batch sends its payloads on STDIN (payload_param): set batch_size = 1, " +
      "or remove payload_param",
      "14:1: batch_size is 1001: expected a whole number from 1 to 1000",
    ],
  ],
  [
    "a process that is not there, or one of several not chosen",
    `${BROKER}${PROCESS}[processes.b]\ncommand = ["b"]\n${CONSUMER}executor = "process"\nprocess = "defult"\n` +
    `[[consumers]]\nqueues = ["b"]\nexecutor = "process"\n`,
    [
      '11:1: process is "defult": there is no [processes.defult]; did you mean "default"?',
      '12:1: missing key "process" in [[consumers]]: expected "default" or "b"',
    ],
  ],

  // How keys fit together
  [
    "headers longer than the answer",
    `${FPM}max_response_bytes = 1024\n[fpm.b]\naddress = "/b"\nscript = "/b"\nmax_response_bytes = 2000\n` +
    `max_header_bytes = 2001\n${BROKER}${CONSUMER}fpm = "b"\n`,
    [
      "4:1: max_header_bytes (65536) is more than max_response_bytes (1024): lower the one or raise the other",
      "9:1: max_header_bytes (2001) is more than max_response_bytes (2000): lower the one or raise the other",
    ],
  ],
  [
    "a status_address without a page",
    `${BROKER}[fpm.a]\naddress = "/a.sock"\nscript = "/a"\nstatus_address = "/b.sock"\n${CONSUMER}`,
    ["7:1: status_address has no effect without a status page: set status_path too"],
  ],
  [
    "kill_on_timeout without what it needs",
    `${BROKER}[fpm.a]\naddress = "127.0.0.1:9000"\nscript = "/a"\nkill_on_timeout = true\n${CONSUMER}`,
    [
      "7:1: kill_on_timeout needs the status page, which shows the PHP process of a job: " +
      "set pm.status_path in php-fpm's pool file, and status_path here",
      "7:1: kill_on_timeout needs a php-fpm on this machine, and so a unix socket for its address: " +
      'let php-fpm listen on one, or set "kill_on_timeout = false" and rely on request_terminate_timeout',
    ],
  ],
  [
    "more jobs at once than children, jobs that are processes not counted",
    `${BROKER}${FPM}children = 3\n${PROCESS}${CONSUMER}[[consumers]]\nqueues = ["b"]\nexecutor = "process"\n`,
    [
      "7:1: fpm.default.children is 3: its consumers run up to 4 jobs at once; lower their concurrency to 3 in all, " +
      "or raise pm.max_children of php-fpm and this number with it",
    ],
  ],
  ["names of nothing", `${BROKER}${FPM}${CONSUMER}broker = "defalt"\nfpm = "web"\n`, [
    '9:1: broker is "defalt": there is no [brokers.defalt]; did you mean "default"?',
    '10:1: fpm is "web": there is no [fpm.web]; expected "default"',
  ]],
  [
    "no name where there are several",
    `${BROKER}[brokers.b]\ndriver = "sqlite"\npath = "b"\n${FPM}[fpm.b]\naddress = "/b"\nscript = "/b"\n${CONSUMER}`,
    [
      '13:1: missing key "broker" in [[consumers]]: expected "default" or "b"',
      '13:1: missing key "fpm" in [[consumers]]: expected "default" or "b"',
    ],
  ],
  [
    "a name that two consumers have",
    `${BROKER}${FPM}${CONSUMER}[[consumers]]\nname = "default"\nqueues = ["b"]\n[[consumers]]\nqueues = ["default"]\n`,
    [
      '10:1: name is "default" like another consumer\'s: give each consumer a name of its own',
      "12:1: this consumer's name, made of its queues, is \"default\" like another consumer's: " +
      "give each consumer a name of its own",
    ],
  ],
  ["a queue that is listed twice", `${BROKER}${FPM}[[consumers]]\nqueues = ["a", "b", "a"]\n`, [
    '8:21: queue "a" is listed twice: remove one',
  ]],
  ["a weight in strict order", `${BROKER}${FPM}[[consumers]]\nqueues = [{ name = "a", weight = 3 }]\n`, [
    '8:25: a weight has no effect in strict order: set order = "weighted", or remove the weight',
  ]],
  [
    "a first wait beyond the longest",
    `${BROKER}${FPM}${CONSUMER}retry = { delay_ms = 5, max_delay_ms = 4 }\n`,
    [
      "9:11: retry.delay_ms (5) is more than retry.max_delay_ms (4): lower the one or raise the other",
    ],
  ],
  [
    "more jobs at once than children",
    `${BROKER}${FPM}children = 6\n${CONSUMER}fpm = "default"\n[[consumers]]\nqueues = ["b"]\nconcurrency = 3\n`,
    [
      "7:1: fpm.default.children is 6: its consumers run up to 7 jobs at once; lower their concurrency to 6 in all, " +
      "or raise pm.max_children of php-fpm and this number with it",
    ],
  ],
  [
    "two problems of one line, in the order of the line",
    `log = { z = 1, level = 2 }\n${BROKER}${FPM}${CONSUMER}`,
    [
      '1:9: unknown key "z" in [log]; remove it; known here: level, format',
      '1:16: log.level is 2: expected "debug", "info", "warn" or "error"',
    ],
  ],
  [
    "all at once, in the order of the file",
    `[log]\nlevel = "loud"\n${CONSUMER}broker = "c"\nqueus = 1\n[fpm.a]\nscript = "/a"\n${BROKER}lease_ms = 1\n`,
    [
      '2:1: log.level is "loud": expected "debug", "info", "warn" or "error"',
      '5:1: broker is "c": there is no [brokers.c]; expected "default"',
      '6:1: unknown key "queus" in [[consumers]]; did you mean "queues"?',
      '7:1: missing key "address" in [fpm.a]: expected a socket\'s absolute path such as "/run/php/fervo.sock", ' +
      'or host and port such as "127.0.0.1:9000"',
      "12:1: brokers.default.lease_ms is 1: expected a whole number from 1000 to 86400000",
    ],
  ],
];

for (const [claim, text, problems] of cases) {
  Deno.test(`parseConfig() rejects ${claim}`, { permissions: "none" }, async () => {
    assert.deepEqual(await problemsIn(text), problems.map((line) => `fervo.toml:${line}`));
  });
}

/** Keys with the tables they are in, and mistakes of each kind of value. */
const KEYS: readonly [table: string, keys: readonly string[]][] = [
  ["", ["shutdown_timeout_ms", "log", "http", "tracing", "control", "processes", "schedule"]],
  ["[brokers.b]\ndriver = 'redis'\n", ["url", "format", "password", "sentinels", "lease_ms", "cluster"]],
  ["[fpm.b]\n", [
    "address",
    "script",
    "status_path",
    "children",
    "kill_on_timeout",
    "max_header_bytes",
    "auto",
  ]],
  ["[fpm.b.auto]\n", ["min", "max", "reserve"]],
  ["[processes.b]\n", ["command", "payload", "exit_codes", "max_stderr_bytes", "env"]],
  ["[[consumers]]\n", [
    "name",
    "broker",
    "executor",
    "fpm",
    "queues",
    "order",
    "concurrency",
    "batch_size",
    "retry",
  ]],
  ["[[consumers]]\n", [
    "ack_on",
    "payload_param",
    "fatal_after_ack",
    "rate_limit",
    "timeout_ms",
    "retry.delay_ms",
  ]],
  ["[[schedule]]\n", ["name", "broker", "queue", "cron", "time_zone", "every_ms", "payload", "priority"]],
  ["[http]\n", ["listen", "token", "token_file"]],
  ["[tracing]\n", ["endpoint", "sample_ratio", "headers"]],
];
const MISTAKES = [
  "true",
  "-1",
  "0.5",
  "1e300",
  "nan",
  '"?"',
  "[]",
  "[5]",
  "[{}]",
  "{}",
  '{ "" = [] }',
  "1979-05-27",
];

for (const [table, keys] of KEYS) {
  Deno.test(`parseConfig() tells what does not fit together beside any mistake in "${table.trim()}"`, async () => {
    const pool = `${FPM}status_address = "/s"\n`;
    const consumers =
      `${CONSUMER}broker = "default"\nfpm = "default"\nretry = { delay_ms = 5, max_delay_ms = 4 }\n`;
    for (const key of keys) {
      for (const mistake of MISTAKES) {
        const written = `${table}${key} = ${mistake}\n`;
        const rest = `${BROKER}${pool}${consumers}`;
        const problems = await problemsIn(table.startsWith("[[") ? rest + written : written + rest);
        const found = problems.filter((problem) =>
          /retry.delay_ms \(5\)|without a status page/.test(problem)
        );
        assert.equal(found.length, 2, `${written}${problems.join("\n")}`);
        assert.equal(new Set(problems).size, problems.length, `twice: ${problems.join("\n")}`);
      }
    }
  });
}

Deno.test("UPGRADE.md says how each renamed option is called now", () => {
  const guide = Deno.readTextFileSync(new URL("../../../UPGRADE.md", import.meta.url));
  for (const [path, name] of RENAMED) {
    const former = path.split(".").at(-1);
    assert.match(guide, new RegExp(`^\\| \`${former} = .*\\| \`${name} = `, "m"));
  }
});
