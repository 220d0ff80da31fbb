<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Event;

use Fervo\DeferredEventBundle\DeferOptions;
use Symfony\Contracts\EventDispatcher\Event;

/**
 * Dispatch it, and the event inside is dispatched later, by a worker, in another process:
 *
 *     $dispatcher->dispatch(new DeferEvent('foo.action', new FooActionEvent()));
 *
 * All listeners of the event run there. To defer only one of them, see {@see \Fervo\DeferredEventBundle\Attribute\AsDeferredListener}.
 */
final class DeferEvent
{
    public const NAME = 'fervo.defer';

    /**
     * @param string|null $name the name under which the event is dispatched later; null = the event's own name, see
     *                          {@see \Fervo\DeferredEventBundle\DeferredEventQueueInterface::deferEvent()}
     */
    public function __construct(
        public readonly ?string $name,
        public readonly object $event = new Event(),
        public readonly ?DeferOptions $options = null,
    ) {
    }
}
