<?php

declare(strict_types=1);

/* What Messenger's worker tells when it runs, to its own listeners for signals and to others. */

use Fervo\DeferredEventBundle\Messenger\SignalListeners;
use Symfony\Component\EventDispatcher\EventDispatcher;
use Symfony\Component\HttpKernel\Kernel;
use Symfony\Component\Messenger\Event\WorkerRunningEvent;
use Symfony\Component\Messenger\Event\WorkerStartedEvent;
use Symfony\Component\Messenger\EventListener\DispatchPcntlSignalListener;
use Symfony\Component\Messenger\EventListener\StopWorkerOnSigtermSignalListener;
use Symfony\Component\Messenger\MessageBus;
use Symfony\Component\Messenger\Worker;

if ('cli' !== \PHP_SAPI) {
    // A web server may take a visitor's query string for arguments.
    http_response_code(403);
    exit;
}

require dirname(__DIR__).'/autoload.php';

$dispatcher = new EventDispatcher();
// As the container adds them, lazily.
$dispatcher->addListener(WorkerRunningEvent::class, [static fn () => new DispatchPcntlSignalListener(), 'onWorkerRunning'], 100);
if (Kernel::VERSION_ID < 60000) {
    $dispatcher->addListener(WorkerStartedEvent::class, [static fn () => new StopWorkerOnSigtermSignalListener(), 'onWorkerStarted'], 100);
}
$called = [];
$dispatcher->addListener(WorkerStartedEvent::class, static function () use (&$called): void { $called[] = 'started'; });
$dispatcher->addListener(WorkerRunningEvent::class, static function () use (&$called): void { $called[] = 'running'; });

SignalListeners::removeWhereThereAreNoSignals($dispatcher);
$isSignalled = false;
if (function_exists('pcntl_signal')) {
    pcntl_signal(\SIGUSR1, static function () use (&$isSignalled): void { $isSignalled = true; });
    posix_kill(getmypid(), \SIGUSR1);
}
$worker = new Worker([], new MessageBus());
$dispatcher->dispatch(new WorkerStartedEvent($worker));
$dispatcher->dispatch(new WorkerRunningEvent($worker, false));
echo 'others were called: ', implode(', ', $called), $isSignalled ? '; signals are dispatched' : '', "\n";
