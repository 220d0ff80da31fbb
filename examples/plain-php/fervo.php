<?php

declare(strict_types=1);

/**
 * The front controller: PHP-FPM runs it once for each job, or once for each batch of jobs (batch_size).
 *
 * fervo-worker sends the payload on STDIN and facts about the job as FERVO_* params, and takes nothing for success but
 * a word of ours, such as the header "X-Fervo-Outcome: ack": a fatal error or a stray exit() can look like a fine answer
 * otherwise.
 *
 * Copy it, and put your code into handlers.php.
 */

// In a function: no job can change what is in here by a global variable.
(static function (): void {
    // Each request of fervo-worker has one of these params, and no visitor can send them: a web server that serves this folder
    // by mistake runs nothing.
    if (($_SERVER['FERVO_JOB_ID'] ?? $_SERVER['FERVO_BATCH'] ?? $_SERVER['FERVO_CHECK'] ?? null) === null) {
        http_response_code(403);
        echo "This script is for fervo-worker.\n";
        return;
    }

    // The worker may give up on us; what has begun is still to end in an orderly way.
    ignore_user_abort(true);
    // PHP-FPM's default of 30 s counts CPU time and would end a job silently: the worker's timeout_ms is the limit.
    set_time_limit(0);
    /** Drops what is printed from now on, so that headers can still be sent afterwards. */
    $dropOutput = static fn (): bool => ob_start(static fn (): string => '', 65536);
    $dropOutput();

    /** Writes records into the body, at once, and drops what was printed before. */
    $write = static function (string $bytes): void {
        while (ob_get_level() > 0 && ob_end_clean());
        echo $bytes;
        flush();
    };
    /** What the worker reads in the body of an answer: 0x1E, JSON, the end of a line. */
    $record = static fn (string $id, string $outcome, ?string $reason): string => "\x1e" . json_encode(
        ['id' => $id, 'outcome' => $outcome] + ($reason === null ? [] : ['error' => $reason, 'pid' => getmypid()]),
        JSON_INVALID_UTF8_SUBSTITUTE,
    ) . "\n";
    /** Answers a request for one job, or for none: by headers, or by a record where a job has sent the headers (flush). */
    $answer = static function (string $id, string $outcome, ?string $reason = null) use ($write, $record, $dropOutput): void {
        if (headers_sent()) {
            $write($record($id, $outcome, $reason));
            // A record counts only as the last thing in the body.
            $dropOutput();
            return;
        }
        if ($reason !== null) {
            header('X-Fervo-Error: ' . $reason);
            header('X-Fervo-Pid: ' . getmypid());
        }
        header('X-Fervo-Outcome: ' . $outcome);
    };

    // `fervo-worker check --call-script` asks whether we are here. There is no job to run.
    if (isset($_SERVER['FERVO_CHECK'])) {
        // It judges these settings; ini_get() is false where PHP does not know one.
        $names = ['display_errors', 'log_errors', 'memory_limit', 'max_execution_time'];
        array_push($names, 'opcache.enable', 'opcache.validate_timestamps', 'error_log', 'fastcgi.logging');
        if (!headers_sent()) {
            header('X-Fervo-Check: ' . json_encode(array_combine($names, array_map('ini_get', $names))));
        }
        $answer('', 'ack');
        return;
    }

    // The worker stopped waiting while this request stood in PHP-FPM's listen queue; the job runs elsewhere by now.
    if (microtime(true) * 1000 > (float) ($_SERVER['FERVO_START_BY'] ?? $_SERVER['FERVO_DEADLINE'])) {
        return;
    }

    /** Runs one job. Returns the outcome, and the reason where it failed. */
    $run = static function (string $payload, array $job): array {
        static $handlers = null;
        try {
            $handlers ??= require $_SERVER['APP_HANDLERS'] ?? __DIR__ . '/handlers.php';
            if (isset($handlers[$job['queue']])) {
                $handlers[$job['queue']]($payload, $job);
                return ['ack', null];
            }
            // To try again would not help: a person has to write the handler, and can retry the dead letter then.
            [$outcome, $reason] = ['bury', "no handler for queue \"{$job['queue']}\""];
        } catch (Throwable $error) {
            [$outcome, $reason] = ['retry', get_class($error) . ': ' . $error->getMessage()];
            // The worker keeps the log lines of a job with its dead letter.
            error_log((string) $error);
        }
        // A header is one line.
        return [$outcome, substr(preg_replace('/[\x00-\x1f\x7f]+/', ' ', $reason), 0, 1000)];
    };

    if (!isset($_SERVER['FERVO_BATCH'])) {
        $id = $_SERVER['FERVO_JOB_ID'];
        [$outcome, $reason] = $run(file_get_contents('php://input'), [
            'id' => $id,
            'queue' => $_SERVER['FERVO_QUEUE'],
            'attempt' => (int) $_SERVER['FERVO_ATTEMPT'],
            'max_attempts' => (int) $_SERVER['FERVO_MAX_ATTEMPTS'],
        ]);
        // The answer comes behind what the job has left for the end of the script: when that fails or exits, no word comes, and
        // the attempt has failed. Destructors of global objects run later still.
        set_exception_handler(null); // A framework's would keep PHP from ending there.
        register_shutdown_function($answer, $id, $outcome, $reason);
        return;
    }

    // A batch: one job after the other from STDIN, and for each a record as soon as it has ended. The header goes first,
    // before a job can send another.
    header('X-Fervo-Outcome: batch');
    $write("\n");
    $input = fopen('php://input', 'rb');
    for ($left = (int) $_SERVER['FERVO_BATCH']; $left > 0; $left--) {
        // A line of facts, the payload, the end of a line.
        $job = json_decode(fgets($input), true, 512, JSON_THROW_ON_ERROR);
        $payload = (string) stream_get_contents($input, $job['bytes']);
        fgetc($input);

        $startedNs = hrtime(true);
        $dropOutput();
        [$outcome, $reason] = $run($payload, $job);
        $write($record($job['id'], $outcome, $reason));

        // The worker has given up on this request: what is left of the batch runs elsewhere.
        if (connection_aborted() || hrtime(true) - $startedNs > $job['timeout_ms'] * 1e6) {
            return;
        }
    }
})();
