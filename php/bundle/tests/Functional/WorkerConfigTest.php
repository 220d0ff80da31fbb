<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Functional;

use Doctrine\DBAL\Connection;
use Doctrine\DBAL\DriverManager;
use PHPUnit\Framework\Assert;
use Symfony\Bundle\FrameworkBundle\Console\Application;
use Symfony\Component\Console\Exception\InvalidOptionException;
use Symfony\Component\Console\Tester\CommandTester;
use Symfony\Component\DependencyInjection\Compiler\CompilerPassInterface;
use Symfony\Component\DependencyInjection\ContainerBuilder;
use Symfony\Component\DependencyInjection\Loader\Configurator\ContainerConfigurator;
use Symfony\Component\HttpKernel\Kernel;
use Symfony\Component\Messenger\Handler\Acknowledger;
use Symfony\Component\Messenger\Handler\BatchHandlerInterface;
use Symfony\Component\Messenger\Handler\BatchHandlerTrait;

/** The configuration that the application prints for the worker. */
final class WorkerConfigTest extends KernelTestCase
{
    public function testTransportsOfATableAreAConsumerInTheirOrder(): void
    {
        $text = $this->config(['high' => 'doctrine://default?queue_name=first', 'async' => 'doctrine://default?auto_setup=0', 'low' => 'doctrine://default?queue_name=low']);

        self::assertContainsLines($text, '[brokers.default]', 'driver = "postgres"', 'format = "messenger"', 'url = "postgres://app@db.example:5432/shop"', 'password = "${SHOP_PASSWORD}"', 'table = "messenger_messages"', '# transport = queue_name in the table', 'queue_names = { high = "first", async = "default" }');
        self::assertContainsLines($text, 'redeliver_timeout_ms = 3600000');
        self::assertContainsLines($text, 'lease_ms = 60000');
        self::assertContainsLines($text, '[[consumers]]', 'broker = "default"', 'fpm = "default"', 'queues = ["high", "async", "low"]');
        self::assertSame(1, substr_count($text, '[[consumers]]'));
        self::assertStringContainsString('Set SHOP_PASSWORD in the environment of fervo-worker', $text);
        self::assertStringNotContainsString('s3cr3t', $text);
        self::assertStringNotContainsString('this order is gone', $text);
    }

    public function testEachTableHasABrokerAndAConsumer(): void
    {
        $text = $this->config([
            'async' => 'doctrine://default',
            'slow' => ['dsn' => 'doctrine://default', 'options' => ['table_name' => 'slow_messages', 'redeliver_timeout' => 30]],
            'legacy' => 'doctrine://legacy',
        ]);

        self::assertContainsLines($text, '[brokers.default_2]', 'driver = "postgres"');
        self::assertContainsLines($text, 'table = "slow_messages"', '# transport = queue_name in the table', 'queue_names = { slow = "default" }', '# As redeliver_timeout of the transports.', 'redeliver_timeout_ms = 30000', '# After a crash of the worker, its messages run again so soon.', 'lease_ms = 30000');
        self::assertContainsLines($text, '[brokers.legacy]', 'driver = "sqlite"', 'format = "messenger"', 'path = "/var/legacy.db"');
        self::assertSame(3, substr_count($text, '[[consumers]]'));
        self::assertStringContainsString('this order is gone', $text);
    }

    public function testWhatTheWorkerDoesNotReadIsTold(): void
    {
        $text = $this->config([
            'async' => 'doctrine://default',
            'twin' => 'doctrine://default',
            'gone' => 'doctrine://nowhere',
            'memory' => 'doctrine://memory',
            'mail' => 'amqp://guest:hidden@localhost/%2f/messages',
            'now' => 'sync://',
            'payments' => 'fervo://payments',
            'failed' => 'doctrine://default?queue_name=failed',
            'unset' => '%env(NOT_SET_DSN)%',
            'a b' => 'doctrine://default?queue_name=other',
        ], ['failure_transport' => 'failed']);
        $flat = (string) preg_replace('/\n# (?!- )/', ' ', $text);

        foreach ([
            'twin: it has the same rows as "async" (queue_name default)',
            'gone: the connection "nowhere" cannot be read: DoctrineBundle has no connection of this name; keep messenger:consume gone running',
            'memory: the connection "memory" cannot be read: it is in the memory of PHP',
            'mail: this version reads no amqp:// transports; keep messenger:consume mail running for it',
            'now: its messages are handled where they are dispatched',
            'payments: its queue "payments" is in the backend',
            'failed: a failure transport',
            'unset: its DSN cannot be read here: Environment variable not found: "NOT_SET_DSN"',
            'a b: its name has other characters',
        ] as $told) {
            self::assertStringContainsString('# - '.$told, $flat);
        }
        self::assertContainsLines($text, 'queues = ["async"]');
        self::assertStringNotContainsString('hidden', $text);
    }

    public function testBatchHandlersHaveAConsumerOfTheirOwn(): void
    {
        $text = $this->config(['async' => 'doctrine://default', 'bulk' => 'doctrine://default?queue_name=bulk'], ['routing' => [Row::class => 'bulk']], static function (ContainerConfigurator $container): void {
            $container->services()->set(Rows::class)->tag('messenger.message_handler', ['handles' => Row::class])
                ->set('rows.by_method', Rows::class)->tag('messenger.message_handler', ['handles' => Row::class, 'method' => 'other']);
        });

        self::assertSame(2, substr_count($text, '[[consumers]]'));
        self::assertContainsLines($text, 'queues = ["async"]');
        self::assertContainsLines($text, 'queues = ["bulk"]');
        self::assertSame(1, substr_count($text, "\nbatch_size = 10\n"));
        self::assertStringContainsString(Rows::class, $text);
    }

    public function testALimiterOfATransportLimitsItsConsumer(): void
    {
        $text = $this->config(['async' => 'doctrine://default', 'api' => 'doctrine://default?queue_name=api'], [], static function (ContainerConfigurator $container): void {
            // As FrameworkBundle has them; symfony/rate-limiter need not be installed here.
            $container->services()->set('limiter.partner', \ArrayObject::class)->args([['policy' => 'fixed_window', 'limit' => 30, 'interval' => '1 minute']]);
        }, limiters: ['api' => 'limiter.partner']);

        self::assertContainsLines($text, 'queues = ["api"]');
        self::assertContainsLines($text, 'rate_limit = 30', 'rate_period_ms = 60000');
        self::assertSame(1, substr_count($text, 'rate_limit ='));
    }

    public function testRetriesAreToldAndOptionsWithoutEffectToo(): void
    {
        $options = Kernel::VERSION_ID < 60000 ? [] : ['stop_worker_on_signals' => [15]];
        $text = $this->config(['async' => ['dsn' => 'doctrine://default', 'retry_strategy' => ['max_retries' => 7]]], $options);

        self::assertStringContainsString('max_retries of async: 7', $text);
        self::assertStringContainsString([] === $options ? '# - reset_on_message: without effect' : '# - stop_worker_on_signals: without effect', $text);
    }

    public function testThePoolIsAsTheCommandLine(): void
    {
        $text = $this->printed(['async' => 'doctrine://default'], ['--pool' => true, '--fpm' => '/run/app.sock', '--user' => 'shop', '--children' => '6']);

        self::assertContainsLines($text, 'user = shop');
        self::assertContainsLines($text, 'listen = /run/app.sock');
        self::assertContainsLines($text, 'pm.max_children = 6');
        self::assertContainsLines($text, 'pm.status_listen = /run/app-status.sock');
        self::assertContainsLines($text, 'clear_env = no');
        self::assertContainsLines($text, 'php_admin_value[max_execution_time] = 0');
        self::assertContainsLines($text, 'php_admin_value[memory_limit] = '.ini_get_all(null, true)['memory_limit']['global_value']);
    }

    public function testTheStatusPageHasTheSameAddressInBothFiles(): void
    {
        $text = $this->printed(['async' => 'doctrine://default'], ['--fpm' => '/run/app.sock']);

        self::assertContainsLines($text, 'status_address = "/run/app-status.sock"');
    }

    public function testAPortIsNoAddress(): void
    {
        $this->expectException(InvalidOptionException::class);
        $this->expectExceptionMessage('--fpm "127.0.0.1:9000" is not the absolute path of a socket');
        $this->printed(['async' => 'doctrine://default'], ['--fpm' => '127.0.0.1:9000']);
    }

    public function testWithoutMessengerThereIsNoCommand(): void
    {
        $kernel = $this->boot(['backend' => ['type' => 'in-memory']], static function (ContainerConfigurator $container): void {
            self::quiet($container);
            $container->extension('framework', ['messenger' => ['enabled' => false]]);
        });

        self::assertFalse((new Application($kernel))->has('fervo:worker:config'));
    }

    /**
     * @param array<string, mixed>  $transports
     * @param array<string, mixed>  $messenger
     * @param array<string, string> $limiters   service by transport
     */
    private function config(array $transports, array $messenger = [], ?\Closure $configure = null, array $limiters = []): string
    {
        return $this->printed($transports, [], $messenger, $configure, $limiters);
    }

    /**
     * @param array<string, mixed>  $transports
     * @param array<string, mixed>  $input
     * @param array<string, mixed>  $messenger
     * @param array<string, string> $limiters
     */
    private function printed(array $transports, array $input, array $messenger = [], ?\Closure $configure = null, array $limiters = []): string
    {
        $kernel = $this->boot(['backend' => ['type' => 'in-memory']], static function (ContainerConfigurator $container, ContainerBuilder $builder) use ($transports, $messenger, $configure, $limiters): void {
            self::quiet($container);
            $container->extension('framework', ['messenger' => ['transports' => $transports] + $messenger + (Kernel::VERSION_ID < 60000 ? ['reset_on_message' => true] : [])]);
            $container->parameters()->set('env(SHOP_PASSWORD)', 's3cr3t')->set('doctrine.connections', ['default' => 'dbal.default', 'legacy' => 'dbal.legacy', 'memory' => 'dbal.memory']);
            foreach ([
                'default' => ['driver' => 'pdo_pgsql', 'host' => 'db.example', 'user' => 'app', 'password' => '%env(SHOP_PASSWORD)%', 'dbname' => 'shop'],
                'legacy' => ['driver' => 'pdo_sqlite', 'path' => '/var/legacy.db'],
                'memory' => ['driver' => 'pdo_sqlite', 'memory' => true],
            ] as $name => $params) {
                $container->services()->set('dbal.'.$name, Connection::class)->factory([DriverManager::class, 'getConnection'])->args([$params]);
            }
            if (null !== $configure) {
                $configure($container);
            }
            $builder->addCompilerPass(new class($limiters) implements CompilerPassInterface {
                /** @param array<string, string> $limiters */
                public function __construct(private readonly array $limiters)
                {
                }

                public function process(ContainerBuilder $container): void
                {
                    if ([] !== $this->limiters) {
                        $container->register('messenger.rate_limiter_locator', \ArrayObject::class)->setArguments([array_map(static fn (string $id): \Symfony\Component\DependencyInjection\Reference => new \Symfony\Component\DependencyInjection\Reference($id), $this->limiters)]);
                    }
                }
            });
        });
        $tester = new CommandTester((new Application($kernel))->find('fervo:worker:config'));
        Assert::assertSame(0, $tester->execute($input));

        return $tester->getDisplay();
    }

    private static function assertContainsLines(string $text, string ...$lines): void
    {
        self::assertStringContainsString("\n".implode("\n", $lines)."\n", $text);
    }
}

final class Row
{
}

final class Rows implements BatchHandlerInterface
{
    use BatchHandlerTrait;

    public function __invoke(Row $row, ?Acknowledger $ack = null): mixed
    {
        return $this->handle($row, $ack);
    }

    public function other(Row $row, ?Acknowledger $ack = null): mixed
    {
        return $this->handle($row, $ack);
    }

    /** @param list<array{object, Acknowledger}> $jobs */
    private function process(array $jobs): void
    {
    }
}
