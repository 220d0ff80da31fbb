<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Attribute;

/**
 * This listener runs later, in a worker, while the event's other listeners run at once.
 *
 *     #[AsDeferredListener]
 *     public function onOrderPlaced(OrderPlaced $event): void
 */
#[\Attribute(\Attribute::TARGET_CLASS | \Attribute::TARGET_METHOD | \Attribute::IS_REPEATABLE)]
final class AsDeferredListener
{
    /**
     * @param string|null           $event       the event's name; null = the type of the method's first parameter, each class of a union
     * @param string|null           $method      on a class: the method; null = on + the event's name, else __invoke
     * @param int                   $priority    among the event's listeners: when the deferring happens, as with AsEventListener
     * @param int|float|string|null $delay       run it no sooner than in so many seconds, or an interval such as "PT5M"
     * @param string|null           $queue       as in DeferOptions
     * @param int|null              $jobPriority among the jobs of the queue: DeferOptions' priority
     * @param int|null              $attempts    as in DeferOptions
     * @param string|null           $dispatcher  the service id of the dispatcher to listen to; null = the application's
     */
    public function __construct(
        public readonly ?string $event = null,
        public readonly ?string $method = null,
        public readonly int $priority = 0,
        public readonly int|float|string|null $delay = null,
        public readonly ?string $queue = null,
        public readonly ?int $jobPriority = null,
        public readonly ?int $attempts = null,
        public readonly ?string $dispatcher = null,
    ) {
    }
}
