<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Functional;

use Doctrine\DBAL\Configuration;
use Doctrine\DBAL\Connection;
use Doctrine\DBAL\DriverManager;
use Fervo\DeferredEventBundle\DeferOptions;
use Fervo\DeferredEventBundle\Doctrine\TransactionMiddleware;
use Fervo\DeferredEventBundle\Exception\InvalidOptionException;
use Fervo\DeferredEventBundle\Tests\Fixtures\FooActionEvent;
use Fervo\DeferredEventBundle\Tests\Fixtures\OrderPlaced;
use Fervo\DeferredEventBundle\Tests\Fixtures\Pay;
use Fervo\DeferredEventBundle\Tests\Fixtures\TestKernel;
use Fervo\DeferredEventBundle\Tests\Support\Database;
use Fervo\DeferredEventBundle\Tests\Support\Server;
use Symfony\Bundle\FrameworkBundle\Console\Application;
use Symfony\Component\Console\Tester\ApplicationTester;
use Symfony\Component\DependencyInjection\Loader\Configurator\ContainerConfigurator;
use Symfony\Component\Messenger\Exception\TransportException;
use Symfony\Component\Messenger\Stamp\RedeliveryStamp;

use function Symfony\Component\DependencyInjection\Loader\Configurator\service;
use function Symfony\Component\DependencyInjection\Loader\Configurator\service_closure;

/** The queue in the application's own database, from the event to the row. */
final class DatabaseTest extends MessengerTestCase
{
    /** @var array<string, Server> */
    private static array $servers = [];

    private Database $database;

    public static function setUpBeforeClass(): void
    {
        self::$servers = ['postgres' => Server::postgresql(), 'mysql' => Server::mariadb()];
    }

    public static function tearDownAfterClass(): void
    {
        self::$servers = [];
    }

    /** @return iterable<array{string, string, string}> the type, the driver, and `send` */
    public static function ways(): iterable
    {
        foreach (['postgres' => 'pdo_pgsql', 'mysql' => 'pdo_mysql'] as $type => $driver) {
            yield [$type, $driver, 'immediately'];
            yield [$type, $driver, 'after_commit'];
        }
    }

    /** @dataProvider ways */
    #[\PHPUnit\Framework\Attributes\DataProvider('ways')]
    public function testAnEventIsPartOfTheTransaction(string $type, string $driver, string $send): void
    {
        $kernel = $this->onDoctrine($type, $driver, ['send' => $send]);
        $connection = $this->connection($kernel);
        $connection->beginTransaction();
        $this->defer($kernel, 'committed');
        $this->place($connection, 1);
        $connection->createSavepoint('half');
        $this->defer($kernel, 'undone');
        $this->place($connection, 2);
        $connection->rollbackSavepoint('half');
        self::assertEquals(1, $connection->fetchOne('SELECT COUNT(*) FROM fervo_jobs'), 'nothing holds it back');
        self::assertSame([], $this->database->rows());
        $connection->commit();
        $connection->beginTransaction();
        $this->defer($kernel, 'rolled back');
        $this->place($connection, 3);
        $connection->rollBack();
        $kernel->getContainer()->get('services_resetter')->reset();

        self::assertSame([1], $this->database->orders());
        self::assertCount(1, $this->database->rows());
        $this->runAll($kernel);
        self::assertSame(['foo.action committed 0'], $kernel->recorded());
    }

    public function testOnTerminateIsBehindTheTransaction(): void
    {
        $kernel = $this->onDoctrine('postgres', 'pdo_pgsql', ['send' => 'on_terminate']);
        $connection = $this->connection($kernel);
        $connection->beginTransaction();
        $this->defer($kernel, 'hello');
        $connection->rollBack();
        self::assertSame([], $this->database->rows());
        $kernel->getContainer()->get('services_resetter')->reset();

        self::assertCount(1, $this->database->rows());
    }

    /** A leftover of an earlier backend, say: one table more than needed, and nothing is lost. */
    public function testTransactionalMovesEventsWithinTheDatabase(): void
    {
        $kernel = $this->onDoctrine('mysql', 'pdo_mysql', ['send' => 'transactional']);
        $this->console($kernel, ['command' => 'fervo:relay', '--create-table' => true]);
        $connection = $this->connection($kernel);
        $connection->transactional(fn () => $this->defer($kernel, 'hello'));
        self::assertSame([], $this->database->rows());
        $this->console($kernel, ['command' => 'fervo:relay']);

        self::assertCount(1, $this->database->rows());
        self::assertEquals(0, $connection->fetchOne('SELECT COUNT(*) FROM fervo_outbox'));
    }

    /**
     * @testWith ["postgres"]
     *           ["mysql"]
     */
    #[\PHPUnit\Framework\Attributes\TestWith(['postgres'])]
    #[\PHPUnit\Framework\Attributes\TestWith(['mysql'])]
    public function testAPdoOfTheApplication(string $type): void
    {
        $kernel = $this->onPdo($type);
        /** @var \PDO $pdo */
        $pdo = $kernel->getContainer()->get('app.pdo');
        $pdo->beginTransaction();
        $this->defer($kernel, 'committed');
        self::assertSame([], $this->database->rows());
        $pdo->commit();
        $pdo->beginTransaction();
        $this->defer($kernel, 'rolled back');
        $pdo->rollBack();

        self::assertCount(1, $this->database->rows());
        $this->runAll($kernel);
        self::assertSame(['foo.action committed 0'], $kernel->recorded());
    }

    public function testAJobThatLeavesATransactionOpenOnThatPdoHasFailedAndIsRolledBack(): void
    {
        $kernel = $this->onPdo('postgres');
        $outcomes = array_map(fn (string $what): string => $this->runListener($kernel, $what), ['defer', 'open and defer', 'defer', 'nothing']);

        self::assertSame(['ack', 'retry: Fervo\DeferredEventBundle\Exception\OpenTransactionException: The job left a transaction open on the connection "app.pdo"', 'ack', 'ack'], $outcomes);
        self::assertCount(2, $this->database->rows());
    }

    public function testAConnectionThatIsNotTheDefaultOne(): void
    {
        $kernel = $this->onDoctrine('postgres', 'pgsql', ['backend' => ['type' => 'postgres', 'connection' => 'shop']], name: 'shop');
        $this->connection($kernel)->transactional(fn () => $this->defer($kernel, 'hello'));

        self::assertCount(1, $this->database->rows());
    }

    public function testAUniqueKey(): void
    {
        $kernel = $this->onDoctrine('mysql', 'mysqli');
        $queue = $kernel->getContainer()->get('fervo_dispatch.queue');
        foreach (['a', 'a', 'b'] as $key) {
            $queue->deferEvent(new FooActionEvent($key), 'foo.action', new DeferOptions(unique: $key));
        }

        self::assertSame(['a', 'b'], array_column($this->database->rows(), 'unique_key'));
    }

    public function testABackendWithoutUniqueKeysIsNamed(): void
    {
        foreach (['sqlite' => $this->sqlite(), 'redis' => ['backend' => ['type' => 'redis', 'dsn' => 'redis://localhost']]] as $type => $config) {
            $kernel = $this->boot($config, self::quiet(...));
            try {
                $kernel->getContainer()->get('fervo_dispatch.queue')->deferEvent(new FooActionEvent('a'), 'foo.action', new DeferOptions(unique: 'key'));
                self::fail('It was deferred.');
            } catch (InvalidOptionException $error) {
                self::assertSame("Cannot defer the event \"foo.action\" with the unique key \"key\": the backend \"$type\" has no unique keys; \"postgres\" and \"mysql\" have.", $error->getMessage());
            }
        }
    }

    public function testTheTableOfTransactionalHasNoUniqueKeys(): void
    {
        $this->expectException(InvalidOptionException::class);
        $this->expectExceptionMessage('the table of "send: transactional" has no unique keys');

        $this->onDoctrine('mysql', 'pdo_mysql', ['send' => 'transactional'])->getContainer()->get('fervo_dispatch.queue')
            ->deferEvent(new FooActionEvent('a'), 'foo.action', new DeferOptions(unique: 'key'));
    }

    public function testWithoutAQueueAUniqueKeyIsKeptByNobody(): void
    {
        $kernel = $this->boot(['backend' => ['type' => 'immediate']], self::quiet(...));
        $kernel->getContainer()->get('fervo_dispatch.queue')->deferEvent(new FooActionEvent('a'), 'foo.action', new DeferOptions(unique: 'key'));

        self::assertSame(['foo.action a 0'], $kernel->recorded());
    }

    public function testMessagesOfMessengerArePartOfTheTransaction(): void
    {
        $kernel = $this->messenger();
        $connection = $this->connection($kernel);
        $connection->beginTransaction();
        $this->send($kernel, new Pay('rolled back'));
        $connection->rollBack();
        $connection->beginTransaction();
        $this->send($kernel, new Pay('card', "\xff\0binary"));
        $connection->commit();

        self::assertSame(['payments'], array_column($this->database->rows(), 'queue'));
        $this->runAll($kernel);
        self::assertSame(['received by async', 'card', 'card (2)', 'handled'], $this->till($kernel)->seen);
    }

    /** Nobody would commit it, and the message that it is a copy of is done. */
    public function testACopyOfAMessageIsRefusedWithoutAutoCommit(): void
    {
        $kernel = $this->messenger();
        $this->connection($kernel)->setAutoCommit(false);

        $this->expectException(TransportException::class);
        $this->expectExceptionMessage('no auto-commit');

        $this->send($kernel, new Pay('card'), new RedeliveryStamp(1));
    }

    public function testDebugFervoShowsTheTable(): void
    {
        $output = $this->console($this->onDoctrine('mysql', 'pdo_mysql', ['send' => 'after_commit']), ['command' => 'debug:fervo']);
        self::assertMatchesRegularExpression('/Backend\s+mysql, the table fervo_jobs of the default connection\s/', $output);
        self::assertMatchesRegularExpression('/Send\s+after_commit, by the transaction of the backend\'s connection\s/', $output);

        $output = $this->console($this->onPdo('postgres'), ['command' => 'debug:fervo']);
        self::assertMatchesRegularExpression('/Backend\s+postgres, the table fervo_jobs of the connection "app\.pdo"\s/', $output);
    }

    /** @dataProvider wrong */
    #[\PHPUnit\Framework\Attributes\DataProvider('wrong')]
    public function testRefusesAConfiguration(array $config, string $message): void
    {
        $this->expectExceptionMessage($message);

        $this->boot($config, static fn (ContainerConfigurator $container) => $container->parameters()->set('doctrine.connections', ['other' => 'x']));
    }

    /** @return iterable<string, array{array<string, mixed>, string}> */
    public static function wrong(): iterable
    {
        $backend = static fn (array $options): array => ['backend' => $options + ['type' => 'postgres']];
        yield 'no connection' => [$backend([]), 'The backend "postgres" needs DoctrineBundle with a connection'];
        yield 'no such connection' => [$backend(['connection' => 'orders']), 'The backend "postgres" has the option "connection" with "orders", which is neither a connection of DoctrineBundle (there is "other") nor a service.'];
        yield 'a prefix that would be SQL' => [$backend(['table_prefix' => 'x; --']), 'The prefix "x; --" is not valid'];
        yield 'an option of another backend' => [$backend(['dsn' => 'x']), 'The option "dsn" is not for the backend "postgres"'];
        yield 'the same the other way round' => [['backend' => ['type' => 'redis', 'dsn' => 'x', 'connection' => 'x']], 'The option "connection" is not for the backend "redis", but for postgres and mysql.'];
        yield 'listeners within a transaction that has failed' => [$backend([]) + ['on_failure' => 'run'], '"on_failure" has to be "throw"'];
    }

    /** @param array<string, mixed> $config */
    private function onDoctrine(string $type, string $driver, array $config = [], string $name = 'default'): TestKernel
    {
        $this->database = new Database(self::$servers[$type], $type);
        $params = $this->database->params($driver);

        return $this->boot($config + ['backend' => ['type' => $type]], static function (ContainerConfigurator $container) use ($params, $name): void {
            self::quiet($container);
            $container->parameters()->set('doctrine.connections', [$name => self::CONNECTION]);
            if ('default' === $name) {
                $container->parameters()->set('doctrine.default_connection', $name);
            }
            $container->services()->set(self::CONNECTION, Connection::class)->public()
                ->factory([self::class, 'connect'])->args([$params, service('fervo_deferred_event.transaction_middleware')->nullOnInvalid()]);
        });
    }

    /**
     * As DoctrineBundle does it.
     *
     * @param array<string, mixed> $params
     */
    public static function connect(array $params, ?TransactionMiddleware $middleware): Connection
    {
        $configuration = new Configuration();
        $configuration->setMiddlewares(null === $middleware ? [] : [$middleware]);

        return DriverManager::getConnection($params, $configuration);
    }

    private function onPdo(string $type): TestKernel
    {
        $this->database = new Database(self::$servers[$type], $type);
        PdoOfTheApplication::$database = $this->database;

        return $this->boot(['backend' => ['type' => $type, 'connection' => 'app.pdo']], static function (ContainerConfigurator $container): void {
            self::quiet($container);
            $services = $container->services();
            $services->set('app.pdo', \PDO::class)->public()->factory([PdoOfTheApplication::class, 'connect']);
            $services->set(PdoOfTheApplication::class)->args([service_closure('app.pdo'), service_closure('fervo_dispatch.queue')])
                ->tag('kernel.event_listener', ['event' => 'pdo', 'method' => '__invoke']);
        });
    }

    private function messenger(): TestKernel
    {
        $this->database = $database = new Database(self::$servers['postgres'], 'postgres');

        return $this->application(config: ['backend' => ['type' => 'postgres']], configure: static function (ContainerConfigurator $container) use ($database): void {
            $container->services()->set(self::CONNECTION, Connection::class)->public()
                ->factory([DriverManager::class, 'getConnection'])->args([$database->params('pdo_pgsql')]);
        });
    }

    private function connection(TestKernel $kernel): Connection
    {
        return $kernel->getContainer()->get(self::CONNECTION);
    }

    private function defer(TestKernel $kernel, string $text): void
    {
        $kernel->getContainer()->get('fervo_dispatch.queue')->deferEvent(new FooActionEvent($text), 'foo.action');
    }

    private function place(Connection $connection, int $id): void
    {
        $connection->insert('orders', ['id' => $id]);
    }

    /** Runs what is in the table, as the worker would. */
    private function runAll(TestKernel $kernel): void
    {
        foreach ($this->database->payloads() as $payload) {
            self::assertSame('ack', $this->runPayload($kernel, $payload)->kind);
        }
    }

    private function runListener(TestKernel $kernel, string $what): string
    {
        $payload = $kernel->getContainer()->get('test.service_container')->get('fervo_deferred_event.codec')->encode('pdo', new \ArrayObject([$what]));
        $outcome = $this->runPayload($kernel, $payload);

        return $outcome->kind.(null === $outcome->error ? '' : ': '.strtok($outcome->error, ';'));
    }

    /** @param array<string, mixed> $input */
    private function console(TestKernel $kernel, array $input): string
    {
        $application = new Application($kernel);
        $application->setAutoExit(false);
        $tester = new ApplicationTester($application);
        self::assertSame(0, $tester->run($input, ['decorated' => false]), $tester->getDisplay());

        return $tester->getDisplay();
    }
}

final class PdoOfTheApplication
{
    public static Database $database;

    public static function connect(): \PDO
    {
        return self::$database->pdo();
    }

    public function __construct(private readonly \Closure $pdo, private readonly \Closure $queue)
    {
    }

    /** @param \ArrayObject<int, string> $event */
    public function __invoke(\ArrayObject $event): void
    {
        if (str_contains($event[0], 'open')) {
            ($this->pdo)()->beginTransaction();
        }
        if (str_contains($event[0], 'defer')) {
            ($this->queue)()->deferEvent(new OrderPlaced(1));
        }
    }
}
