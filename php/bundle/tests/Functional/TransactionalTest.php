<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Functional;

use Doctrine\DBAL\Connection;
use Doctrine\DBAL\DriverManager;
use Fervo\DeferredEventBundle\Tests\Fixtures\FooActionEvent;
use Fervo\DeferredEventBundle\Tests\Fixtures\TestKernel;
use Fervo\DeferredEventBundle\Tests\Support\Folder;
use Fervo\DeferredEventBundle\Tests\Support\Queue;
use Fervo\Runner\Job;
use Symfony\Bundle\FrameworkBundle\Console\Application;
use Symfony\Component\Console\Tester\ApplicationTester;
use Symfony\Component\DependencyInjection\Loader\Configurator\ContainerConfigurator;

/** `send: transactional`, from the event to the queue. */
final class TransactionalTest extends KernelTestCase
{
    private const ID = 'doctrine.dbal.default_connection';

    public function testAnEventGoesByWayOfTheDatabase(): void
    {
        $kernel = $this->application();
        /** @var Connection $connection */
        $connection = $kernel->getContainer()->get(self::ID);
        $queue = $kernel->getContainer()->get('fervo_dispatch.queue');
        $connection->beginTransaction();
        $queue->deferEvent(new FooActionEvent('hello'), 'foo.action');
        self::assertSame([], Queue::rows($this->queue));
        $connection->commit();
        $connection->beginTransaction();
        $queue->deferEvent(new FooActionEvent('never'), 'foo.action');
        $connection->rollBack();
        self::assertSame([], Queue::rows($this->queue));

        $this->console($kernel, ['command' => 'fervo:relay']);
        self::assertCount(1, Queue::rows($this->queue));
        $this->work($kernel);
        self::assertSame(['foo.action hello 0'], $kernel->recorded());
    }

    /** As a schedule of the worker does. */
    public function testTheWorkerRunsTheRelay(): void
    {
        $kernel = $this->application();
        $kernel->getContainer()->get('fervo_dispatch.queue')->deferEvent(new FooActionEvent('hello'), 'foo.action');
        self::assertSame('ack', $kernel->getContainer()->get('fervo_deferred_event.runner')->run(Job::fromParams($_SERVER, 'fervo:relay'))->kind);

        self::assertCount(1, Queue::rows($this->queue));
    }

    /** A request or a job has other things to do than to move what has heaped up while the queue was away. */
    public function testAtTheEndAsManyAreMovedAsWereAdded(): void
    {
        $kernel = $this->application();
        /** @var Connection $connection */
        $connection = $kernel->getContainer()->get(self::ID);
        $queue = $kernel->getContainer()->get('fervo_dispatch.queue');
        $resetter = $kernel->getContainer()->get('services_resetter');
        rename($this->queue, $this->queue.'.away');
        $connection->transactional(static function () use ($queue): void {
            for ($i = 0; $i < 350; ++$i) {
                $queue->deferEvent(new FooActionEvent('old'), 'foo.action');
            }
        });
        $this->silently(static fn () => $resetter->reset());
        rename($this->queue.'.away', $this->queue);

        $queue->deferEvent(new FooActionEvent('new'), 'foo.action');
        $resetter->reset();
        self::assertCount(100, Queue::rows($this->queue), 'those of one transaction');
        for ($i = 0; $i < 150; ++$i) {
            $queue->deferEvent(new FooActionEvent('new'), 'foo.action');
        }
        $resetter->reset();
        self::assertCount(300, Queue::rows($this->queue));

        $this->console($kernel, ['command' => 'fervo:relay']);
        self::assertCount(501, Queue::rows($this->queue));
    }

    public function testAQueueThatIsAwayFailsNothing(): void
    {
        $kernel = $this->application();
        rename($this->queue, $this->queue.'.away');
        $kernel->getContainer()->get('fervo_dispatch.queue')->deferEvent(new FooActionEvent('hello'), 'foo.action');
        self::assertSame(1, $this->console($kernel, ['command' => 'fervo:relay']));
        rename($this->queue.'.away', $this->queue);
        self::assertSame(0, $this->console($kernel, ['command' => 'fervo:relay']));

        self::assertCount(1, Queue::rows($this->queue));
    }

    public function testWithoutAQueueEventsRunAtOnce(): void
    {
        $kernel = $this->application(['backend' => ['type' => 'immediate']]);
        $kernel->getContainer()->get('fervo_dispatch.queue')->deferEvent(new FooActionEvent('hello'), 'foo.action');

        self::assertSame(['foo.action hello 0'], $kernel->recorded());
    }

    public function testRefusesAConnectionThatIsNotThere(): void
    {
        $this->expectExceptionMessage('needs DoctrineBundle with the connection "other"');

        $this->application(['transactional' => ['connection' => 'other']]);
    }

    public function testRefusesWithoutDoctrine(): void
    {
        $this->expectExceptionMessage('"fervo_deferred_event.send: transactional" needs DoctrineBundle');

        $this->boot($this->sqlite() + ['send' => 'transactional']);
    }

    /** @param array<string, mixed> $config */
    private function application(array $config = []): TestKernel
    {
        $file = Folder::create().'/app.sqlite';
        $kernel = $this->boot($config + $this->sqlite() + ['send' => 'transactional'], static function (ContainerConfigurator $container) use ($file): void {
            self::quiet($container);
            $container->parameters()->set('doctrine.connections', ['default' => self::ID])->set('doctrine.default_connection', 'default');
            $container->services()->set(self::ID, Connection::class)->public()
                ->factory([DriverManager::class, 'getConnection'])->args([['driver' => 'pdo_sqlite', 'path' => $file]]);
        });
        self::assertSame(0, $this->console($kernel, ['command' => 'fervo:relay', '--create-table' => true]));

        return $kernel;
    }

    /** @param array<string, mixed> $input */
    private function console(TestKernel $kernel, array $input): int
    {
        $application = new Application($kernel);
        $application->setAutoExit(false);

        return (new ApplicationTester($application))->run($input);
    }
}
