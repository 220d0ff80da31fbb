<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Functional;

use Fervo\DeferredEventBundle\DeferOptions;
use Fervo\DeferredEventBundle\DeferredEventQueueInterface;
use Fervo\DeferredEventBundle\Event\DeferEvent;
use Fervo\DeferredEventBundle\Exception\InvalidOptionException;
use Fervo\DeferredEventBundle\Exception\SendFailedException;
use Fervo\DeferredEventBundle\Tests\Fixtures\FakeLogger;
use Fervo\DeferredEventBundle\Tests\Fixtures\FooActionEvent;
use Fervo\DeferredEventBundle\Tests\Fixtures\Listeners;
use Fervo\DeferredEventBundle\Tests\Fixtures\OrderPlaced;
use Fervo\DeferredEventBundle\Tests\Support\Folder;
use Fervo\DeferredEventBundle\Tests\Support\Queue;
use Fervo\Runner\Job;
use Symfony\Component\DependencyInjection\Loader\Configurator\ContainerConfigurator;
use Symfony\Component\HttpFoundation\Request;
use Symfony\Component\HttpFoundation\Response;
use Symfony\Component\HttpKernel\Event\TerminateEvent;

/** From the event to the row in the queue, and back: in real containers. */
final class DeferringTest extends KernelTestCase
{
    public function testByEvent(): void
    {
        $kernel = $this->boot($this->sqlite());
        $dispatcher = $kernel->getContainer()->get('event_dispatcher');
        $dispatcher->dispatch(new DeferEvent('foo.action', new FooActionEvent('named')), 'fervo.defer');
        $dispatcher->dispatch(new DeferEvent('foo.action', new FooActionEvent('unnamed')));
        self::assertSame([], $kernel->recorded());

        $this->work($kernel);
        self::assertSame(['foo.action named 0', 'foo.action unnamed 0'], $kernel->recorded());
    }

    public function testByServiceWithTheEventsOwnName(): void
    {
        $kernel = $this->boot($this->sqlite());
        $event = new FooActionEvent('by service');
        $event->setName('foo.action');
        $kernel->getContainer()->get('fervo_dispatch.queue')->deferEvent($event);

        $this->work($kernel);
        self::assertSame(['foo.action by service 0'], $kernel->recorded());
    }

    public function testByServiceWithItsClassAsTheName(): void
    {
        $kernel = $this->boot($this->sqlite());
        $kernel->getContainer()->get('fervo_dispatch.queue')->deferEvent(new OrderPlaced(5));

        $this->work($kernel);
        // The deferred listener of the event is deferred as usual: that is a job of its own.
        self::assertSame(['at once 5', 'later 5 as '.OrderPlaced::class], $kernel->recorded());
    }

    public function testAGetNameThatIsAboutSomethingElse(): void
    {
        $kernel = $this->boot($this->sqlite(), static function ($container): void {
            $container->services()->set('listener', CustomerRenamedListener::class)->tag('kernel.event_listener', ['event' => CustomerRenamed::class]);
        });
        $kernel->getContainer()->get('fervo_dispatch.queue')->deferEvent(new CustomerRenamed());

        self::assertSame(CustomerRenamed::class, $this->payload(0)['event']);
    }

    public function testByListener(): void
    {
        $kernel = $this->boot($this->sqlite());
        $kernel->getContainer()->get('event_dispatcher')->dispatch(new OrderPlaced(3));

        self::assertSame(['at once 3'], $kernel->recorded());
        [$row] = Queue::rows($this->queue);
        self::assertSame(['orders', 7, 'ready'], [$row['queue'], $row['max_attempts'], $row['state']]);
        self::assertSame(['service' => Listeners::class, 'method' => 'later'], $this->payload(0)['listener']);

        $this->work($kernel);
        self::assertSame(['at once 3', 'later 3 as '.OrderPlaced::class], $kernel->recorded(), 'only that listener');
        self::assertSame([], Queue::rows($this->queue), 'and it is not deferred again');
    }

    public function testOptions(): void
    {
        $kernel = $this->boot($this->sqlite() + ['queue' => 'usual', 'attempts' => 4]);
        $dispatcher = $kernel->getContainer()->get('event_dispatcher');
        $dispatcher->dispatch(new DeferEvent('foo.action', new FooActionEvent(), new DeferOptions(delay: 60, queue: 'mail', priority: 9, attempts: 2)));
        $dispatcher->dispatch(new DeferEvent('foo.action', options: new DeferOptions(delay: 1)));

        [$own, $usual] = Queue::rows($this->queue);
        self::assertSame(['mail', 9, 2, 'delayed'], [$own['queue'], $own['priority'], $own['max_attempts'], $own['state']]);
        self::assertEqualsWithDelta(microtime(true) * 1000 + 60_000, $own['due_at'], 10_000);
        self::assertSame(['usual', 0, 4], [$usual['queue'], $usual['priority'], $usual['max_attempts']]);
    }

    public function testTheQueueIsAutowired(): void
    {
        $kernel = $this->boot($this->sqlite());

        self::assertSame($kernel->getContainer()->get('fervo_dispatch.queue'), $kernel->getContainer()->get('test.service_container')->get(DeferredEventQueueInterface::class));
    }

    public function testAWrappedEventIsNotWrappedAgain(): void
    {
        $this->expectException(InvalidOptionException::class);

        $this->boot($this->sqlite())->getContainer()->get('fervo_dispatch.queue')->deferEvent(new DeferEvent('foo.action'), 'foo');
    }

    public function testOnTerminate(): void
    {
        $kernel = $this->boot($this->sqlite() + ['send' => 'on_terminate']);
        $dispatcher = $kernel->getContainer()->get('event_dispatcher');
        $dispatcher->dispatch(new DeferEvent('foo.action', new FooActionEvent()));
        self::assertSame([], Queue::rows($this->queue));

        $dispatcher->dispatch(new TerminateEvent($kernel, new Request(), new Response()), 'kernel.terminate');
        self::assertCount(1, Queue::rows($this->queue));
    }

    public function testOnTerminateInTheWorkerIsTheEndOfTheJob(): void
    {
        $kernel = $this->boot($this->sqlite() + ['send' => 'on_terminate']);
        $payload = $this->boot(['backend' => ['type' => 'service', 'service' => 'memory']], self::memory(...))->getContainer();
        $payload->get('fervo_dispatch.queue')->deferEvent(new FooActionEvent('defer'), 'foo.action');

        $outcome = $kernel->getContainer()->get('fervo_deferred_event.runner')->run(Job::fromParams($_SERVER, $payload->get('memory')->jobs[0]->payload));

        self::assertSame('ack', $outcome->kind);
        self::assertSame([OrderPlaced::class], array_map(fn (int $i): string => $this->payload($i)['event'], array_keys(Queue::rows($this->queue))));
    }

    public function testAJobWhoseOwnEventsCannotBeSentHasFailed(): void
    {
        $memory = $this->boot(['backend' => ['type' => 'service', 'service' => 'memory']], self::memory(...))->getContainer();
        $memory->get('fervo_dispatch.queue')->deferEvent(new FooActionEvent('defer'), 'foo.action');
        $kernel = $this->boot(['backend' => ['type' => 'sqlite', 'path' => $path = Folder::create().'/none'], 'send' => 'on_terminate'], self::quiet(...));

        $outcome = $this->silently(static fn () => $kernel->getContainer()->get('fervo_deferred_event.runner')->run(Job::fromParams($_SERVER, $memory->get('memory')->jobs[0]->payload)));

        self::assertSame('retry', $outcome->kind);
        self::assertStringContainsString($path, $outcome->error);
    }

    public function testOnFailureThrow(): void
    {
        $kernel = $this->boot(['backend' => ['type' => 'sqlite', 'path' => Folder::create().'/none']]);

        $this->expectException(SendFailedException::class);
        $kernel->getContainer()->get('event_dispatcher')->dispatch(new DeferEvent('foo.action', new FooActionEvent()));
    }

    public function testOnFailureRun(): void
    {
        $kernel = $this->boot(['backend' => ['type' => 'sqlite', 'path' => Folder::create().'/none'], 'on_failure' => 'run'], self::quiet(...));
        $kernel->getContainer()->get('event_dispatcher')->dispatch(new DeferEvent('foo.action', new FooActionEvent('now')));

        self::assertSame(['foo.action now 0'], $kernel->recorded());
    }

    public function testImmediateLetsTheListenersErrorsThrough(): void
    {
        $kernel = $this->boot([]);

        $this->expectExceptionMessage('bad');
        $kernel->getContainer()->get('event_dispatcher')->dispatch(new DeferEvent('foo.action', new FooActionEvent('throw')));
    }

    public function testABackendOfOnesOwn(): void
    {
        $kernel = $this->boot(['backend' => ['type' => 'service', 'service' => 'memory']], self::memory(...));
        $kernel->getContainer()->get('fervo_dispatch.queue')->deferEvent(new OrderPlaced());

        self::assertSame(OrderPlaced::class, $kernel->getContainer()->get('memory')->jobs[0]->eventName);
    }

    public function testJsonAndBack(): void
    {
        $kernel = $this->boot($this->sqlite() + ['serializer' => 'json'], static function ($container): void {
            // By themselves they are on where the application itself requires them, and not for its development only.
            $container->extension('framework', ['serializer' => ['enabled' => true], 'property_access' => ['enabled' => true]]);
        });
        $kernel->getContainer()->get('fervo_dispatch.queue')->deferEvent(new OrderPlaced(4));
        self::assertEquals(['id' => 4, 'extra' => null], json_decode($this->payload(0)['data'], true));

        $this->work($kernel);
        self::assertSame('at once 4', $kernel->recorded()[0]);
    }

    public function testOldPayloadsOnlyWhereAccepted(): void
    {
        $event = new FooActionEvent('from 2013');
        $event->setName('foo.action');
        $payload = base64_encode(serialize($event));
        $run = fn (array $config) => $this->boot($config, self::quiet(...))->getContainer()->get('fervo_deferred_event.runner')->run(Job::fromParams($_SERVER, $payload))->kind;

        self::assertSame('bury', $this->silently(fn () => $run([])));
        self::assertSame('ack', $run(['legacy' => ['accept_unsigned' => true]]));
    }

    public function testEachOldPayloadIsWarnedAbout(): void
    {
        $event = new FooActionEvent();
        $event->setName('foo.action');
        $kernel = $this->boot(['legacy' => ['accept_unsigned' => true]], static function (ContainerConfigurator $container): void {
            $container->services()->set('logger', FakeLogger::class)->public();
        });
        $logger = $kernel->getContainer()->get('logger');
        $kernel->getContainer()->get('fervo_deferred_event.runner')->run(Job::fromParams($_SERVER, base64_encode(serialize($event))));

        self::assertMatchesRegularExpression('/^warning: .*UNSAFE.*\[foo\.action\]$/', $logger->lines[0] ?? '');
    }
}
