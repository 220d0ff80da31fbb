<?php

declare(strict_types=1);

/*
 * A front controller in the way of 2013: it boots the kernel and runs a console Application with the command that
 * dispatches the event, for each request.
 */
use App\Kernel;
use Symfony\Bundle\FrameworkBundle\Console\Application;
use Symfony\Component\Console\Input\ArrayInput;
use Symfony\Component\Console\Output\BufferedOutput;

require $_SERVER['BENCH_PROJECT_DIR'] . '/vendor/autoload.php';
$_SERVER += require $_SERVER['BENCH_PROJECT_DIR'] . '/.env.local.php';

$application = new Application(new Kernel($_SERVER['APP_ENV'], (bool) $_SERVER['APP_DEBUG']));
$application->setAutoExit(false);
$input = new ArrayInput([
    'command' => 'fervo:deferred-event:dispatch',
    'payload' => file_get_contents('php://input'),
]);
$code = $application->run($input, $output = new BufferedOutput());
if ($code !== 0) {
    header('X-Fervo-Error: ' . preg_replace('/\s+/', ' ', $output->fetch()));
}
header('X-Fervo-Outcome: ' . ($code === 0 ? 'ack' : 'retry'));
