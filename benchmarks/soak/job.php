<?php

declare(strict_types=1);

/*
 * A job of the soak. It reports to the ledger, a process outside broker, worker and PHP: that it begins, what it has decided
 * before PHP answers, and, as the connection ends with the script or with the process, when it was over. So a worker, a
 * child or a machine that dies in between makes a job run twice, and never one that is only believed to have run.
 */
ignore_user_abort(true);
set_time_limit(0);
if (microtime(true) * 1000 > (float) ($_SERVER['FERVO_START_BY'] ?? $_SERVER['FERVO_DEADLINE'])) {
    exit; // It stood in the listen queue until the worker gave it up, and runs elsewhere by now.
}

$job = json_decode(file_get_contents('php://input'), true, 4, JSON_THROW_ON_ERROR);
$attempt = (int) $_SERVER['FERVO_ATTEMPT'];
$isFirst = $attempt === 1;
$repeat = isset($_SERVER['FERVO_REPEAT']) ? 1 : 0;

$ledger = stream_socket_client('unix://' . $_SERVER['SOAK_LEDGER'], $code, $message, 30);
fwrite($ledger, "{$job['number']} $attempt $repeat {$_SERVER['SOAK_WORKER']}\n");

switch ($job['kind']) {
    case 'slow':
        usleep(1000 * (1 + $job['number'] % 50));
        break;
    case 'long': // Longer than a worker waits for it at a stop, and php-fpm at a reload.
        usleep(7_000_000);
        break;
    case 'noisy':
        error_log(str_repeat('noise ', 4000));
        break;
}
$outcome = match (true) {
    $job['kind'] === 'hopeless', $job['kind'] === 'flaky' && $isFirst => 'retry',
    $job['kind'] === 'wrong' => 'bury',
    $job['kind'] === 'exits' && $isFirst, $job['kind'] === 'crashes' && $isFirst => 'none',
    default => 'ack',
};
fwrite($ledger, "$outcome\n");

if ($outcome === 'none') {
    if ($job['kind'] === 'crashes') {
        posix_kill(getmypid(), 9); // php-fpm has no pcntl, and so no SIGKILL.
    }
    exit;
}
if ($outcome !== 'ack') {
    header('X-Fervo-Error: as asked for');
    header('X-Fervo-Delay-Ms: 200');
}
header('X-Fervo-Outcome: ' . $outcome);
