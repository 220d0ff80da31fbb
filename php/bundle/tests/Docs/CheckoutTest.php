<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Docs;

use Fervo\DeferredEventBundle\Event\JobFailed;
use Fervo\DeferredEventBundle\Exception\RetryAfterException;
use Fervo\DeferredEventBundle\Exception\UnrecoverableException;
use Fervo\DeferredEventBundle\Test\DeferredEventAssertions;
use Fervo\DeferredEventBundle\Tests\Fixtures\TestKernel;
use Fervo\DeferredEventBundle\Tests\Support\Folder;
use Fervo\Runner\Job;
use Psr\Log\NullLogger;
use Symfony\Bundle\FrameworkBundle\Test\KernelTestCase;
use Symfony\Component\DependencyInjection\Loader\Configurator\ContainerConfigurator;
use Symfony\Component\HttpKernel\KernelInterface;

require_once __DIR__.'/shop.php';

/** As the tests of the shop would be. */
final class CheckoutTest extends KernelTestCase
{
    use DeferredEventAssertions;

    public function testAnOrderHasAnInvoiceByMail(): void
    {
        self::getContainer()->get(Checkout::class)->place(7);

        self::assertEventDeferred(OrderPlaced::class);
        [$job] = self::deferredJobs(OrderPlaced::class);
        self::assertSame('mail', $job->queue);
        self::assertSame(5, $job->attempts);

        self::runDeferredEvents();
        self::assertSame(['invoice of order 7'], self::getContainer()->get(Mailbox::class)->sent);
    }

    public function testAnOrderIsLookedAfterInAnHour(): void
    {
        self::getContainer()->get(Checkout::class)->place(7);

        self::assertEquals([new OrderForgotten(7)], self::deferredEvents(OrderForgotten::class));
        [$job] = self::deferredJobs(OrderForgotten::class);
        self::assertSame(3600, (int) round($job->delayMs() / 1000));
    }

    public function testAnInvoiceWaitsForRoomInTheMailbox(): void
    {
        self::getContainer()->get(Mailbox::class)->isFull = true;
        self::getContainer()->get(Checkout::class)->place(7);

        $this->expectException(RetryAfterException::class);
        self::runDeferredEvents();
    }

    public function testAnOrderThatIsNotThereIsNotTriedAgain(): void
    {
        self::getContainer()->get(Checkout::class)->place(-1);

        $this->expectException(UnrecoverableException::class);
        self::runDeferredEvents();
    }

    public function testTheAlarmRingsWhereNothingIsTriedAgain(): void
    {
        self::getContainer()->get(Checkout::class)->place(-1);
        [$job] = self::deferredJobs(OrderPlaced::class);

        $_SERVER += ['FERVO_JOB_ID' => '1', 'FERVO_QUEUE' => 'mail'];
        $log = ini_set('error_log', '/dev/null');
        try {
            self::assertSame('bury', self::getContainer()->get('fervo_deferred_event.runner')->run(Job::fromParams($_SERVER, $job->payload))->kind);
        } finally {
            ini_set('error_log', (string) $log);
            unset($_SERVER['FERVO_JOB_ID'], $_SERVER['FERVO_QUEUE']);
        }
        self::assertSame([OrderPlaced::class.' of mail: There is no such order.'], self::getContainer()->get(Alarm::class)->rung);
    }

    /** @param array<string, mixed> $options */
    protected static function createKernel(array $options = []): KernelInterface
    {
        return new TestKernel(Folder::create(), ['backend' => ['type' => 'in-memory']], static function (ContainerConfigurator $container): void {
            $services = $container->services()->defaults()->autowire()->autoconfigure()->public();
            $services->set('logger', NullLogger::class);
            $services->set(Checkout::class);
            $services->set(Invoices::class);
            $services->set(Mailbox::class);
            $services->set(Alarm::class)->tag('kernel.event_listener', ['event' => JobFailed::class]);
        });
    }
}
