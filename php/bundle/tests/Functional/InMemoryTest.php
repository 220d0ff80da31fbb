<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Functional;

use Fervo\DeferredEventBundle\Backend\InMemoryBackend;
use Fervo\DeferredEventBundle\DeferOptions;
use Fervo\DeferredEventBundle\Test\DeferredEventAssertions;
use PHPUnit\Framework\AssertionFailedError;
use Psr\Container\ContainerInterface;
use Symfony\Component\DependencyInjection\Loader\Configurator\ContainerConfigurator;

use function Symfony\Component\DependencyInjection\Loader\Configurator\service;

/** The backend for tests, as the tests of an application use it. */
final class InMemoryTest extends KernelTestCase
{
    use DeferredEventAssertions;

    private static ?ContainerInterface $container = null;

    protected function setUp(): void
    {
        $kernel = $this->boot(['backend' => ['type' => 'in-memory']], static function (ContainerConfigurator $container): void {
            self::quiet($container);
            $container->services()->set(Shop::class)->public()
                ->args([service('fervo_dispatch.queue')])
                ->tag('kernel.event_listener', ['event' => OrderSent::class, 'method' => 'onOrder'])
                ->tag('kernel.event_listener', ['event' => 'mail', 'method' => 'onMail']);
        });
        self::$container = $kernel->getContainer();
    }

    protected function tearDown(): void
    {
        self::$container = null;
        parent::tearDown();
    }

    public static function getContainer(): ContainerInterface
    {
        return self::$container ?? throw new \LogicException('There is no kernel.');
    }

    public function testWhatWasDeferredCanBeLookedAtAndRun(): void
    {
        self::assertNoEventDeferred();
        $queue = self::getContainer()->get('fervo_dispatch.queue');
        $queue->deferEvent(new OrderSent(7), null, new DeferOptions(queue: 'orders', attempts: 3));

        self::assertEventDeferred(OrderSent::class);
        self::assertNoEventDeferred('mail');
        self::assertEquals([new OrderSent(7)], self::deferredEvents(OrderSent::class));
        [$job] = self::deferredJobs(OrderSent::class);
        self::assertSame(['orders', 3], [$job->queue, $job->attempts]);

        // The listener defers a mail, which runs, too.
        self::assertSame(2, self::runDeferredEvents());
        self::assertSame(['order 7', 'mail about 7'], self::getContainer()->get(Shop::class)->seen);
        self::assertNoEventDeferred();
    }

    public function testAUniqueKeyIsOneEventInTheQueueThatWaits(): void
    {
        $queue = self::getContainer()->get('fervo_dispatch.queue');
        foreach ([7, 8] as $order) {
            $queue->deferEvent(new OrderSent($order), null, new DeferOptions(unique: 'order'));
            $queue->deferEvent(new OrderSent($order), null, new DeferOptions(queue: 'orders', unique: 'order'));
        }
        self::assertEquals([new OrderSent(7), new OrderSent(7)], self::deferredEvents(OrderSent::class));
        self::runDeferredEvents();
        $queue->deferEvent(new OrderSent(9), null, new DeferOptions(unique: 'order'));
        self::assertEquals([new OrderSent(9)], self::deferredEvents(OrderSent::class));
    }

    public function testAWrongExpectationSaysWhatWasDeferred(): void
    {
        self::getContainer()->get('fervo_dispatch.queue')->deferEvent(new \ArrayObject([1]), 'mail');

        $this->expectException(AssertionFailedError::class);
        $this->expectExceptionMessage('Expected 1 of "Fervo\DeferredEventBundle\Tests\Functional\OrderSent"; deferred were: mail (ArrayObject).');
        self::assertEventDeferred(OrderSent::class);
    }

    public function testItOutlivesAResetOfTheServices(): void
    {
        self::getContainer()->get('fervo_dispatch.queue')->deferEvent(new OrderSent(1));
        self::getContainer()->get('services_resetter')->reset();

        self::assertEventDeferred(OrderSent::class);
        self::getContainer()->get('fervo_deferred_event.backend')->clear();
        self::assertNoEventDeferred();
        self::assertInstanceOf(InMemoryBackend::class, self::getContainer()->get('fervo_deferred_event.backend'));
    }
}

final class Shop
{
    /** @var list<string> */
    public array $seen = [];

    public function __construct(private readonly \Fervo\DeferredEventBundle\DeferredEventQueueInterface $queue)
    {
    }

    public function onOrder(OrderSent $order): void
    {
        $this->seen[] = 'order '.$order->id;
        $this->queue->deferEvent(new \ArrayObject([$order->id]), 'mail');
    }

    /** @param \ArrayObject<int, int> $mail */
    public function onMail(\ArrayObject $mail): void
    {
        $this->seen[] = 'mail about '.$mail[0];
    }
}

final class OrderSent
{
    public function __construct(public int $id)
    {
    }
}
