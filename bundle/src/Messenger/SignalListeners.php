<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Messenger;

use Symfony\Component\EventDispatcher\EventDispatcherInterface;
use Symfony\Component\HttpKernel\Kernel;
use Symfony\Component\Messenger\Event\WorkerRunningEvent;
use Symfony\Component\Messenger\Event\WorkerStartedEvent;
use Symfony\Component\Messenger\EventListener\DispatchPcntlSignalListener;
use Symfony\Component\Messenger\EventListener\StopWorkerOnSigtermSignalListener;

/**
 * In Symfony 5.4, Messenger's listeners for signals ask for the extension "pcntl" when the container is built, and only then. That is
 * on a console, which has it; PHP-FPM has not, and each message would fail of a function that is not there.
 *
 * @internal
 */
final class SignalListeners
{
    private const CLASSES = [DispatchPcntlSignalListener::class, StopWorkerOnSigtermSignalListener::class];

    public static function removeWhereThereAreNoSignals(EventDispatcherInterface $dispatcher): void
    {
        if (Kernel::VERSION_ID >= 60000 || (\function_exists('pcntl_signal') && \function_exists('pcntl_signal_dispatch'))) {
            return;
        }
        foreach ([WorkerStartedEvent::class, WorkerRunningEvent::class] as $event) {
            foreach ($dispatcher->getListeners($event) as $listener) {
                if (\is_array($listener) && \is_object($listener[0]) && \in_array($listener[0]::class, self::CLASSES, true)) {
                    $dispatcher->removeListener($event, $listener);
                }
            }
        }
    }
}
