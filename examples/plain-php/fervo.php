<?php

declare(strict_types=1);

/**
 * The front controller: PHP-FPM runs it once for each job.
 *
 * fervo-worker sends the payload on STDIN and facts about the job as FERVO_* params, and takes nothing for success but
 * the header "X-Fervo-Outcome: ack": a fatal error or a stray exit() can look like a fine answer otherwise.
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

$job = [
    'id' => $_SERVER['FERVO_JOB_ID'],
    'queue' => $_SERVER['FERVO_QUEUE'],
    'attempt' => (int) $_SERVER['FERVO_ATTEMPT'],
    'max_attempts' => (int) $_SERVER['FERVO_MAX_ATTEMPTS'],
];

try {
    $handlers = require $_SERVER['APP_HANDLERS'] ?? __DIR__ . '/handlers.php';
    if (!isset($handlers[$job['queue']])) {
        // To try again would not help: a person has to write the handler, and can retry the dead letter then.
        $outcome = 'bury';
        $reason = "no handler for queue \"{$job['queue']}\"";
    } else {
        $handlers[$job['queue']](file_get_contents('php://input'), $job);
        $outcome = 'ack';
    }
} catch (Throwable $error) {
    $outcome = 'retry';
    $reason = get_class($error) . ': ' . $error->getMessage();
    // The worker keeps the log lines of a job with its dead letter.
    error_log((string) $error);
}

if (isset($reason)) {
    // A header is one line.
    header('X-Fervo-Error: ' . substr(preg_replace('/[\x00-\x1f\x7f]+/', ' ', $reason), 0, 1000));
}
// The last thing: nothing can go wrong any more.
header('X-Fervo-Outcome: ' . $outcome);
