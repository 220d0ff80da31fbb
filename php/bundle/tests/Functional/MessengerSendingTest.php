<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Functional;

use Fervo\DeferredEventBundle\Test\DeferredEventAssertions;
use Fervo\DeferredEventBundle\Tests\Fixtures\OrderPlaced;
use Fervo\DeferredEventBundle\Tests\Fixtures\Pay;
use Fervo\DeferredEventBundle\Tests\Fixtures\SwitchableBackend;
use Fervo\DeferredEventBundle\Tests\Fixtures\TestKernel;
use Fervo\DeferredEventBundle\Tests\Support\Queue;
use Psr\Container\ContainerInterface;
use Symfony\Bundle\FrameworkBundle\Console\Application;
use Symfony\Component\Console\Tester\ApplicationTester;
use Symfony\Component\DependencyInjection\Loader\Configurator\ContainerConfigurator;
use Symfony\Component\Messenger\Exception\HandlerFailedException;
use Symfony\Component\Messenger\Exception\TransportException;
use Symfony\Component\Messenger\MessageBusInterface;
use Symfony\Component\Messenger\Stamp\DelayStamp;
use Symfony\Component\Messenger\Stamp\DispatchAfterCurrentBusStamp;
use Symfony\Component\Messenger\Stamp\RedeliveryStamp;

/** The transport fervo:// of Messenger: from the bus to the queue. */
final class MessengerSendingTest extends MessengerTestCase
{
    use DeferredEventAssertions;

    private static ?TestKernel $kernel = null;

    protected function tearDown(): void
    {
        self::$kernel = null;
        parent::tearDown();
    }

    public static function getContainer(): ContainerInterface
    {
        return self::$kernel?->getContainer() ?? throw new \LogicException('There is no kernel.');
    }

    public function testAMessageIsAJobInTheTransportsQueue(): void
    {
        $kernel = $this->application(['transports' => ['async' => 'fervo://payments?attempts=3&priority=7']]);
        $before = (int) (microtime(true) * 1000);
        $this->send($kernel, new Pay('card', "\xff\0binary"));
        $after = (int) (microtime(true) * 1000);

        [$row] = Queue::rows($this->queue);
        self::assertSame(['payments', 7, 3], [$row['queue'], (int) $row['priority'], (int) $row['max_attempts']]);
        self::assertGreaterThanOrEqual($before, (int) $row['due_at']);
        self::assertLessThanOrEqual($after, (int) $row['due_at']);
        self::assertStringStartsWith('fervo-message/1 ', $row['payload']);
        self::assertEquals(new Pay('card', "\xff\0binary"), $this->envelope()->getMessage());
        self::assertSame([], $this->till($kernel)->seen);
    }

    public function testTheBundlesQueueAndAttemptsAreTheDefault(): void
    {
        $kernel = $this->application(['transports' => ['async' => 'fervo://']], ['queue' => 'all', 'attempts' => 4]);
        $this->send($kernel, new Pay('card'));

        [$row] = Queue::rows($this->queue);
        self::assertSame(['all', 4, 0], [$row['queue'], (int) $row['max_attempts'], (int) $row['priority']]);
    }

    public function testADelayStampIsWhenItIsDue(): void
    {
        $kernel = $this->application();
        $before = (int) (microtime(true) * 1000);
        $this->send($kernel, new Pay('card'), new DelayStamp(90_000));
        $this->send($kernel, new Pay('card'), new DelayStamp(\PHP_INT_MAX));
        $after = (int) (microtime(true) * 1000);

        $due = array_map('intval', array_column(Queue::rows($this->queue), 'due_at'));
        self::assertGreaterThanOrEqual($before + 90_000, $due[0]);
        self::assertLessThanOrEqual($after + 90_000, $due[0]);
        self::assertGreaterThan($after + 900_000_000_000_000, $due[1], 'a delay that is too long for the queue is a very long one');
    }

    public function testAJsonMessageCanBeReadInTheQueue(): void
    {
        $kernel = $this->application(['serializer' => ['default_serializer' => 'messenger.transport.symfony_serializer']], configure: static function (ContainerConfigurator $container): void {
            $container->extension('framework', ['serializer' => ['enabled' => true], 'property_access' => ['enabled' => true]]);
        });
        $this->send($kernel, new Pay('card'));

        $payload = $this->payload(0);
        self::assertSame('{"what":"card","data":""}', $payload['body']);
        self::assertSame([Pay::class, 'async', Pay::class], [$payload['message'], $payload['transport'], $payload['headers']['type']]);
    }

    public function testWhenTheQueueIsAwayMessengersExceptionSaysSo(): void
    {
        $kernel = $this->whoseQueueIsAway();

        $this->expectException(TransportException::class);
        $this->expectExceptionMessage('Cannot send a message of the class "'.Pay::class.'" by the transport "async": away');
        $this->send($kernel, new Pay('card'));
    }

    /** `send: on_terminate` is for messages, too. */
    public function testAMessageWaitsForTheEndOfTheRequest(): void
    {
        $kernel = $this->application([], ['send' => 'on_terminate']);
        $this->send($kernel, new Pay('card'));
        self::assertSame([], Queue::rows($this->queue));

        $kernel->getContainer()->get('services_resetter')->reset();
        self::assertCount(1, Queue::rows($this->queue));
    }

    /** `send: transactional` is for messages, too. */
    public function testAMessageIsPartOfTheTransaction(): void
    {
        $kernel = $this->application([], ['send' => 'transactional']);
        $this->console($kernel, ['command' => 'fervo:relay', '--create-table' => true]);
        $connection = $kernel->getContainer()->get(self::CONNECTION);
        $connection->beginTransaction();
        $this->send($kernel, new Pay('rolled back'));
        $connection->rollBack();
        $connection->beginTransaction();
        $this->send($kernel, new Pay('binary', "\xff\0"));
        $connection->commit();
        self::assertSame([], Queue::rows($this->queue));

        $this->console($kernel, ['command' => 'fervo:relay']);
        self::assertEquals(new Pay('binary', "\xff\0"), $this->envelope()->getMessage());
        self::assertCount(1, Queue::rows($this->queue));
    }

    /** What it is a copy of is removed right after it was sent: nothing may hold it back. */
    public function testACopyForAFurtherTryGoesToTheQueueAtOnce(): void
    {
        foreach (['on_terminate', 'transactional'] as $send) {
            $kernel = $this->application([], ['send' => $send]);
            $kernel->getContainer()->get(self::CONNECTION)->beginTransaction();
            $this->send($kernel, new Pay('card'), new RedeliveryStamp(1));

            self::assertCount(1, Queue::rows($this->queue), $send);
        }
    }

    public function testMessengersOwnDispatchAfterCurrentBusHoldsAMessageBack(): void
    {
        $kernel = $this->application(configure: static function (ContainerConfigurator $container): void {
            $container->services()->set(Sequence::class)->public()->autowire()
                ->tag('messenger.message_handler', ['handles' => \ArrayObject::class]);
        });
        foreach (['work' => 1, 'throw' => 0] as $what => $sent) {
            $before = \count(Queue::rows($this->queue));
            try {
                $this->send($kernel, new \ArrayObject([$what]));
            } catch (HandlerFailedException) {
            }
            self::assertCount($before + $sent, Queue::rows($this->queue), $what);
        }
    }

    public function testItsMessagesAreNotForMessengersOwnCommand(): void
    {
        $kernel = $this->application();

        $this->expectExceptionMessage('start "fervo-worker run" in the place of "messenger:consume async"');
        $this->transport($kernel, 'async')->get();
    }

    public function testWithoutAQueueAMessageIsHandledAtOnceThroughItsPayload(): void
    {
        $kernel = $this->application([], ['backend' => ['type' => 'immediate']]);
        $this->send($kernel, new Pay('card'), new DelayStamp(60_000));
        self::assertSame(['card', 'card (2)'], $this->till($kernel)->seen);

        // As sync:// does it: nothing is tried again.
        $this->expectException(HandlerFailedException::class);
        $this->expectExceptionMessage('The till is shut');
        $this->send($kernel, new Pay('throw'));
    }

    public function testWithOnFailureRunAMessageIsHandledHereWhenTheQueueIsAway(): void
    {
        $kernel = $this->whoseQueueIsAway(['on_failure' => 'run']);
        $this->send($kernel, new Pay('card'));

        self::assertSame(['card', 'card (2)'], $this->till($kernel)->seen);
    }

    public function testTestsLookAtMessagesInMemory(): void
    {
        self::$kernel = $kernel = $this->application([], ['backend' => ['type' => 'in-memory']]);
        $this->send($kernel, new Pay('send', "\xff"));
        $kernel->getContainer()->get('fervo_dispatch.queue')->deferEvent(new OrderPlaced(1));

        self::assertEquals([new Pay('send', "\xff")], self::deferredMessages(Pay::class));
        self::assertSame([], self::deferredMessages(\ArrayObject::class));
        self::assertEquals([new OrderPlaced(1)], self::deferredEvents(OrderPlaced::class));
        self::assertSame('payments', self::deferredJobs(Pay::class)[0]->queue);
        // The handler sends another one, and a listener of the event is a job of its own.
        self::assertSame(4, self::runDeferredEvents());
        self::assertSame(['send', 'send (2)', 'sent by a handler', 'sent by a handler (2)'], $this->till($kernel)->seen);
    }

    public function testDebugFervoShowsItsTransportsAndNoOthers(): void
    {
        $kernel = $this->application(['transports' => ['async' => 'fervo://payments?attempts=3', 'mail' => ['dsn' => 'fervo://', 'options' => ['priority' => 5]], 'other' => 'in-memory://hunter2']]);
        $output = $this->console($kernel, ['command' => 'debug:fervo']);

        self::assertMatchesRegularExpression('/async\s+payments\s+3\s+0\s/', $output);
        self::assertMatchesRegularExpression('/^ +Queues +default, orders, payments *$/m', $output, 'a consumer has to name all');
        self::assertMatchesRegularExpression('/mail\s+default\s+the worker\'s\s+5\s/', $output);
        self::assertStringNotContainsString('hunter2', $output);
    }

    public function testDebugFervoTellsWhatIsWrongWithATransport(): void
    {
        $kernel = $this->application(['transports' => ['async' => 'fervo://payments?attemps=3']]);
        $output = $this->console($kernel, ['command' => 'debug:fervo']);

        self::assertStringContainsString('The transport "async" has the option "attemps"', $output);
    }

    public function testWithoutMessengerTheContainerIsBuiltAndAMessageWaitsForIt(): void
    {
        $payload = $this->payloadOf(new Pay('card'));
        $kernel = $this->boot($this->sqlite(), static function (ContainerConfigurator $container): void {
            self::quiet($container);
            $container->extension('framework', ['messenger' => ['enabled' => false]]);
        });
        $outcome = $this->runPayload($kernel, $payload);

        self::assertSame('retry', $outcome->kind);
        self::assertStringContainsString('set "framework.messenger"', (string) $outcome->error);
    }

    private function payloadOf(Pay $pay): string
    {
        $this->send($this->application(), $pay);

        return Queue::rows($this->queue)[0]['payload'];
    }

    /** @param array<string, mixed> $config */
    private function whoseQueueIsAway(array $config = []): TestKernel
    {
        $kernel = $this->application([], $config + ['backend' => ['type' => 'service', 'service' => 'switchable']], static function (ContainerConfigurator $container): void {
            $container->services()->set('switchable', SwitchableBackend::class)->public();
        });
        $kernel->getContainer()->get('switchable')->isAway = true;

        return $kernel;
    }

    /** @param array<string, mixed> $input */
    private function console(TestKernel $kernel, array $input): string
    {
        $application = new Application($kernel);
        $application->setAutoExit(false);
        $tester = new ApplicationTester($application);
        $tester->run($input);

        return $tester->getDisplay();
    }
}

/** Sends a message as the first thing it does, to be handled when it is done itself. */
final class Sequence
{
    public function __construct(private readonly MessageBusInterface $bus)
    {
    }

    /** @param \ArrayObject<int, string> $do */
    public function __invoke(\ArrayObject $do): void
    {
        $this->bus->dispatch(new Pay('afterwards'), [new DispatchAfterCurrentBusStamp()]);
        if ('throw' === $do[0]) {
            throw new \DomainException('The first thing was too much');
        }
    }
}
