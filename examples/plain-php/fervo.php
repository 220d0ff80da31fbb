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

// The worker may give up on us; what has begun is still to end in an orderly way.
ignore_user_abort(true);
// PHP-FPM's default of 30 s counts CPU time and would end a job silently: the worker's timeout_ms is the limit.
set_time_limit(0);
// Whatever a handler prints is kept back, so that the header can still be sent afterwards.
ob_start();

// `fervo-worker check --call-script` asks whether we are here. There is no job to run.
if (isset($_SERVER['FERVO_CHECK'])) {
    // It judges these settings; ini_get() is false where PHP does not know one.
    $names = ['display_errors', 'log_errors', 'memory_limit', 'max_execution_time'];
    array_push($names, 'opcache.enable', 'opcache.validate_timestamps');
    header('X-Fervo-Check: ' . json_encode(array_combine($names, array_map('ini_get', $names))));
    header('X-Fervo-Outcome: ack');
    exit;
}

// The worker stopped waiting while this request stood in PHP-FPM's listen queue; the job runs elsewhere by now.
if (microtime(true) * 1000 > (float) ($_SERVER['FERVO_START_BY'] ?? $_SERVER['FERVO_DEADLINE'])) {
    exit;
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
    [$outcome, $reason] = $run(file_get_contents('php://input'), [
        'id' => $_SERVER['FERVO_JOB_ID'],
        'queue' => $_SERVER['FERVO_QUEUE'],
        'attempt' => (int) $_SERVER['FERVO_ATTEMPT'],
        'max_attempts' => (int) $_SERVER['FERVO_MAX_ATTEMPTS'],
    ]);
    if ($reason !== null) {
        header('X-Fervo-Error: ' . $reason);
        header('X-Fervo-Pid: ' . getmypid());
    }
    // The last thing: nothing can go wrong any more.
    header('X-Fervo-Outcome: ' . $outcome);
    exit;
}

/** Tells the worker at once, and drops what was printed before. */
$send = static function (string $bytes): void {
    while (ob_get_level() > 0 && ob_end_clean());
    echo $bytes;
    flush();
};

// A batch: one job after the other from STDIN, and for each a record as soon as it has ended. The header goes first, before
// a job can send another.
header('X-Fervo-Outcome: batch');
$send("\n");
$input = fopen('php://input', 'rb');
for ($left = (int) $_SERVER['FERVO_BATCH']; $left > 0; $left--) {
    // A line of facts, the payload, the end of a line.
    $job = json_decode(fgets($input), true, 512, JSON_THROW_ON_ERROR);
    $payload = (string) stream_get_contents($input, $job['bytes']);
    fgetc($input);

    $startedNs = hrtime(true);
    ob_start();
    [$outcome, $reason] = $run($payload, $job);
    $record = ['id' => $job['id'], 'outcome' => $outcome];
    if ($reason !== null) {
        $record += ['error' => $reason, 'pid' => getmypid()];
    }
    $send("\x1e" . json_encode($record, JSON_INVALID_UTF8_SUBSTITUTE) . "\n");

    // The worker has given up on this request: what is left of the batch runs elsewhere.
    if (connection_aborted() || hrtime(true) - $startedNs > $job['timeout_ms'] * 1e6) {
        exit;
    }
}
