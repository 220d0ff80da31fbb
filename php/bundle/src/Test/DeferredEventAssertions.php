<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Test;

use Fervo\DeferredEventBundle\Backend\DeferredJob;
use Fervo\DeferredEventBundle\Backend\InMemoryBackend;
use PHPUnit\Framework\Assert;

/**
 * For a test that extends Symfony's KernelTestCase, with the backend for tests.
 *
 *     when@test:
 *         fervo_deferred_event:
 *             backend: { type: in-memory }
 */
trait DeferredEventAssertions
{
    /**
     * @param string $event its class, or the name under which it is dispatched later
     */
    public static function assertEventDeferred(string $event, int $times = 1): void
    {
        $names = array_map(static fn (DeferredJob $job): string => $job->eventClass === $job->eventName ? $job->eventClass : $job->eventName.' ('.$job->eventClass.')', self::deferredEventBackend()->jobs());
        Assert::assertCount($times, self::deferredJobs($event), sprintf('Expected %d of "%s"; deferred were: %s.', $times, $event, [] === $names ? 'none' : implode(', ', $names)));
    }

    public static function assertNoEventDeferred(?string $event = null): void
    {
        Assert::assertSame([], array_map(static fn (DeferredJob $job): string => $job->eventName, self::deferredJobs($event)));
    }

    /**
     * How they would be queued: queue, delay, attempts, listener.
     *
     * @return list<DeferredJob>
     */
    public static function deferredJobs(?string $event = null): array
    {
        $isWanted = static fn (DeferredJob $job): bool => null === $event || $event === $job->eventClass || $event === $job->eventName;

        return array_values(array_filter(self::deferredEventBackend()->jobs(), $isWanted));
    }

    /**
     * As a worker would get them.
     *
     * @template T of object
     *
     * @param class-string<T> $class
     *
     * @return list<T>
     */
    public static function deferredEvents(string $class): array
    {
        return array_values(array_filter(self::deferredEventBackend()->events(), static fn (object $event): bool => $event instanceof $class));
    }

    /**
     * The messages that Messenger has sent by fervo://, as a worker would get them; their jobs are in deferredJobs(), too.
     *
     * @template T of object
     *
     * @param class-string<T> $class
     *
     * @return list<T>
     */
    public static function deferredMessages(string $class): array
    {
        return array_values(array_filter(self::deferredEventBackend()->messages(), static fn (object $message): bool => $message instanceof $class));
    }

    /** Runs all that is deferred, messages too, and what that defers. What a listener throws comes out. */
    public static function runDeferredEvents(): int
    {
        return self::deferredEventBackend()->run();
    }

    private static function deferredEventBackend(): InMemoryBackend
    {
        $backend = static::getContainer()->get('fervo_deferred_event.backend');
        Assert::assertInstanceOf(InMemoryBackend::class, $backend, 'Set "fervo_deferred_event.backend.type" to "in-memory" in the environment of the tests.');

        return $backend;
    }
}
