<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Messenger;

use Symfony\Component\EventDispatcher\EventDispatcherInterface;
use Symfony\Component\Messenger\Event\WorkerRunningEvent;
use Symfony\Component\Messenger\Event\WorkerStartedEvent;

/**
 * In Symfony 5.4, Messenger's listeners for signals ask for the extension "pcntl" when the container is built, and only then. That is
 * on a console, which has it; PHP-FPM has not, and each message would fail of a function that is not there.
 *
 * @internal
 */
final class SignalListeners
{
    private const CLASSES = [
        'Symfony\Component\Messenger\EventListener\DispatchPcntlSignalListener',
        'Symfony\Component\Messenger\EventListener\StopWorkerOnSigtermSignalListener',
    ];

    public static function removeWhereThereAreNoSignals(EventDispatcherInterface $dispatcher): void
    {
        if (\function_exists('pcntl_signal') && \function_exists('pcntl_signal_dispatch')) {
            return;
        }
        foreach ([WorkerStartedEvent::class, WorkerRunningEvent::class] as $event) {
            foreach ($dispatcher->getListeners($event) as $listener) {
                if (\is_callable($listener) && self::isOne($listener)) {
                    $dispatcher->removeListener($event, $listener);
                }
            }
        }
    }

    private static function isOne(mixed $listener): bool
    {
        $owner = \is_array($listener) ? $listener[0] : null;

        return \is_object($owner) && \in_array($owner::class, self::CLASSES, true);
    }
}
