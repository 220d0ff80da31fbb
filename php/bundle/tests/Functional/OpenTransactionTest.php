<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Functional;

use Doctrine\DBAL\Connection;
use Doctrine\DBAL\DriverManager;
use Fervo\DeferredEventBundle\DeferredEventQueueInterface;
use Fervo\DeferredEventBundle\Event\JobFailed;
use Fervo\DeferredEventBundle\Event\JobHandled;
use Fervo\DeferredEventBundle\Tests\Fixtures\OrderPlaced;
use Fervo\DeferredEventBundle\Tests\Fixtures\TestKernel;
use Fervo\DeferredEventBundle\Tests\Support\Folder;
use Fervo\DeferredEventBundle\Tests\Support\Queue;
use Fervo\Runner\Job;
use Fervo\Runner\Outcome;
use Symfony\Bundle\FrameworkBundle\Console\Application;
use Symfony\Component\Console\Input\ArrayInput;
use Symfony\Component\Console\Output\NullOutput;
use Symfony\Component\DependencyInjection\Loader\Configurator\ContainerConfigurator;
use Symfony\Component\HttpFoundation\Request;
use Symfony\Component\HttpFoundation\Response;

use function Symfony\Component\DependencyInjection\Loader\Configurator\service;
use function Symfony\Component\DependencyInjection\Loader\Configurator\service_closure;

/** Jobs that leave a transaction open, with connections as DoctrineBundle has them. */
final class OpenTransactionTest extends KernelTestCase
{
    private const ID = 'doctrine.dbal.default_connection';

    public function testAJobThatLeavesATransactionOpenHasFailedAndIsRolledBack(): void
    {
        $kernel = $this->application('immediately');
        $outcome = $this->job($kernel, 'open');

        self::assertSame('retry', $outcome->kind);
        self::assertStringContainsString('OpenTransactionException: The job left a transaction open on the connection "default"', (string) $outcome->error);
        self::assertSame([], $this->rows($kernel));
    }

    /** In a batch: the same container. */
    public function testTheJobsBehindItAreNotPartOfItsTransaction(): void
    {
        $kernel = $this->application('immediately');
        $outcomes = array_map(fn (string $what): string => $this->job($kernel, $what)->kind, ['insert', 'open', 'insert', 'by hand', 'insert', 'throw within', 'insert']);

        self::assertSame(['ack', 'retry', 'ack', 'retry', 'ack', 'retry', 'ack'], $outcomes);
        self::assertCount(4, $this->rows($kernel));
    }

    public function testTheReasonOfAJobThatThrowsIsItsOwn(): void
    {
        self::assertStringContainsString('DomainException: within', (string) $this->job($this->application('immediately'), 'throw within')->error);
    }

    public function testEventsThatItHeldHaveFailedWithIt(): void
    {
        $kernel = $this->application('on_terminate');
        self::assertSame('retry', $this->job($kernel, 'defer and open')->kind);
        self::assertSame('retry', $this->job($kernel, 'defer and throw')->kind);
        self::assertSame('ack', $this->job($kernel, 'defer')->kind);

        self::assertCount(1, Queue::rows($this->queue));
    }

    /** Their end is not that of the job. */
    public function testACommandOrRequestInsideAJobSendsNothingOfIt(): void
    {
        $kernel = $this->application('on_terminate');
        foreach (['command', 'two requests', 'reset'] as $inside) {
            self::assertSame('retry', $this->job($kernel, "defer and $inside and throw")->kind);
            self::assertSame([], Queue::rows($this->queue), $inside);
            self::assertSame('ack', $this->job($kernel, "defer and $inside")->kind);
            self::assertCount(1, Queue::rows($this->queue));
            Queue::open($this->queue)->exec('DELETE FROM fervo_jobs');
        }
        $kernel->getContainer()->get('fervo_dispatch.queue')->deferEvent(new OrderPlaced(1));
        $kernel->terminate(new Request(), new Response());
        self::assertCount(1, Queue::rows($this->queue), 'behind the job');
    }

    public function testNorOfOneThatIsLeftBehindAJob(): void
    {
        $kernel = $this->application('immediately');
        foreach (['open behind', 'throw behind'] as $what) {
            self::assertSame('open behind' === $what ? 'ack' : 'retry', $this->job($kernel, $what)->kind);
            $before = \count($this->rows($kernel));
            self::assertSame('ack', $this->job($kernel, 'insert')->kind, $what);
            self::assertCount($before + 1, $this->rows($kernel));
        }
    }

    public function testAConnectionThatNoJobHasUsedIsNotMade(): void
    {
        $kernel = $this->application('immediately');
        $this->job($kernel, 'nothing');

        self::assertFalse($kernel->getContainer()->initialized(self::ID));
    }

    private function application(string $send): TestKernel
    {
        $file = Folder::create().'/app.sqlite';

        return $this->boot($this->sqlite() + ['send' => $send], static function (ContainerConfigurator $container) use ($file): void {
            self::quiet($container);
            $container->parameters()->set('doctrine.connections', ['default' => self::ID]);
            $services = $container->services();
            $services->set(self::ID, Connection::class)->public()
                ->factory([DriverManager::class, 'getConnection'])->args([['driver' => 'pdo_sqlite', 'path' => $file]]);
            $services->set(Doing::class)
                ->args([service_closure(self::ID), service('fervo_dispatch.queue'), service('kernel')])
                ->tag('kernel.event_listener', ['event' => Doing::EVENT, 'method' => '__invoke'])
                ->tag('kernel.event_listener', ['event' => JobHandled::class, 'method' => 'behind'])
                ->tag('kernel.event_listener', ['event' => JobFailed::class, 'method' => 'behind']);
        });
    }

    private function job(TestKernel $kernel, string $what): Outcome
    {
        $payload = $kernel->getContainer()->get('test.service_container')->get('fervo_deferred_event.codec')->encode(Doing::EVENT, new \ArrayObject([$what]), null);

        return $this->silently(static fn (): Outcome => $kernel->getContainer()->get('fervo_deferred_event.runner')->run(Job::fromParams($_SERVER, $payload)));
    }

    /** @return list<mixed> what another process would see */
    private function rows(TestKernel $kernel): array
    {
        $params = $kernel->getContainer()->get(self::ID)->getParams();

        return DriverManager::getConnection($params)->fetchFirstColumn('SELECT x FROM t');
    }
}

final class Doing
{
    public const EVENT = 'doing';

    /** @param \Closure(): Connection $connection */
    public function __construct(private readonly \Closure $connection, private readonly DeferredEventQueueInterface $queue, private readonly TestKernel $kernel)
    {
    }

    public function behind(JobHandled|JobFailed $told): void
    {
        if ($told->event instanceof \ArrayObject && str_ends_with($told->event[0], 'behind')) {
            $connection = ($this->connection)();
            $connection->beginTransaction();
            $connection->executeStatement('INSERT INTO t VALUES (2)');
        }
    }

    /** @param \ArrayObject<int, string> $event */
    public function __invoke(\ArrayObject $event): void
    {
        if ('nothing' === $event[0]) {
            return;
        }
        $connection = ($this->connection)();
        $connection->executeStatement('CREATE TABLE IF NOT EXISTS t (x INTEGER)');
        foreach (explode(' and ', $event[0]) as $what) {
            if ('open' === $what || 'throw within' === $what) {
                $connection->beginTransaction();
            }
            $native = $connection->getNativeConnection();
            if ('by hand' === $what && $native instanceof \PDO) {
                $native->beginTransaction();
            }
            match ($what) {
                'command' => $this->runCommand(),
                'two requests' => $this->handleRequests(2),
                'reset' => $this->kernel->getContainer()->get('services_resetter')->reset(),
                default => null,
            };
            if ('defer' === $what) {
                $this->queue->deferEvent(new OrderPlaced(1));
            }
            $connection->executeStatement('INSERT INTO t VALUES (1)');
            if (str_contains($what, 'throw')) {
                throw new \DomainException('within');
            }
        }
    }

    private function runCommand(): void
    {
        $application = new Application($this->kernel);
        $application->setAutoExit(false);
        $application->run(new ArrayInput(['command' => 'list']), new NullOutput());
    }

    private function handleRequests(int $count): void
    {
        for ($i = 0; $i < $count; ++$i) {
            $request = Request::create('/nowhere');
            $this->kernel->terminate($request, $this->kernel->handle($request));
        }
    }
}
