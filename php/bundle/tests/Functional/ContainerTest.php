<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Functional;

use Fervo\DeferredEventBundle\Attribute\AsDeferredListener;
use Fervo\DeferredEventBundle\DependencyInjection\Compiler\DeferredListenerPass;
use Fervo\DeferredEventBundle\DependencyInjection\Configuration;
use Fervo\DeferredEventBundle\Tests\Fixtures\OrderPlaced;
use Symfony\Bundle\FrameworkBundle\Console\Application;
use Symfony\Component\Config\Definition\Processor;
use Symfony\Component\Console\Tester\ApplicationTester;
use Symfony\Component\DependencyInjection\ContainerBuilder;
use Symfony\Component\DependencyInjection\Loader\Configurator\ContainerConfigurator;
use Symfony\Component\EventDispatcher\Attribute\AsEventListener;
use Symfony\Component\EventDispatcher\EventSubscriberInterface;

/** What is wrong is said when the container is built; what is right is shown by commands. */
final class ContainerTest extends KernelTestCase
{
    /** @dataProvider wrongConfigurations */
    #[\PHPUnit\Framework\Attributes\DataProvider('wrongConfigurations')]
    public function testRefusesAConfiguration(array $config, string $message): void
    {
        $this->expectExceptionMessage($message);

        $this->boot($config);
    }

    /** @return iterable<string, array{array<string, mixed>, string}> */
    public static function wrongConfigurations(): iterable
    {
        yield 'sqlite without a path' => [['backend' => ['type' => 'sqlite']], 'The backend "sqlite" needs the option "path".'];
        yield 'an option of another backend' => [['backend' => ['type' => 'redis', 'dsn' => 'redis://localhost', 'path' => 'x']], 'The option "path" is not for the backend "redis", but for sqlite.'];
        yield 'a misspelt option' => [['backend' => ['typ' => 'redis']], 'Unrecognized option "typ"'];
        yield 'after_commit without Doctrine' => [['send' => 'after_commit'], 'needs DoctrineBundle'];
        yield 'no attempts' => [['attempts' => 0], 'attempts'];
    }

    public function testRefusesJsonWithoutASerializer(): void
    {
        $this->expectExceptionMessage('symfony/serializer-pack');

        $this->boot(['serializer' => 'json'], static function (ContainerConfigurator $container): void {
            $container->extension('framework', ['serializer' => ['enabled' => false]]);
        });
    }

    /** @dataProvider wrongListeners */
    #[\PHPUnit\Framework\Attributes\DataProvider('wrongListeners')]
    public function testRefusesAListener(array $tag, string $message): void
    {
        $this->expectExceptionMessage($message);

        $this->boot([], static function (ContainerConfigurator $container) use ($tag): void {
            $container->services()->set('listener', WrongListener::class)->tag('fervo_deferred_event.listener', $tag);
        });
    }

    /** @return iterable<string, array{array<string, mixed>, string}> */
    public static function wrongListeners(): iterable
    {
        yield 'no such method' => [['event' => 'foo.action', 'method' => 'gone'], 'has no public method gone()'];
        yield 'private method' => [['event' => 'foo.action', 'method' => 'secret'], 'has no public method secret()'];
        yield 'nothing to guess' => [['event' => 'foo.action'], 'has no public method onFooAction() or __invoke()'];
        yield 'no type' => [['method' => 'untyped'], 'Give the first parameter of untyped() the event\'s class'];
        yield 'no such attribute' => [['event' => 'foo.action', 'method' => 'untyped', 'retries' => 3], 'has the attribute "retries"'];
        yield 'a bad queue' => [['event' => 'foo.action', 'method' => 'untyped', 'queue' => 'a b'], 'The queue "a b" is not valid'];
        yield 'a bad delay' => [['event' => 'foo.action', 'method' => 'untyped', 'delay' => 'soon'], 'options of the deferred listener "listener" are wrong'];
    }

    /** As `when@test` has it, over the configuration of production. */
    public function testAnotherTypeOfBackendMayBeLaidOverOne(): void
    {
        $process = static fn (array ...$configs): array => (new Processor())->processConfiguration(new Configuration(), $configs)['backend'];
        $sqlite = ['backend' => ['type' => 'sqlite', 'path' => '/queue', 'busy_timeout_ms' => 5]];

        self::assertSame(['type' => 'immediate'], $process($sqlite, ['backend' => ['type' => 'immediate']]));
        self::assertSame(['type' => 'redis', 'dsn' => 'redis://localhost'], $process($sqlite, ['backend' => ['type' => 'redis', 'dsn' => 'redis://localhost']]));
        self::assertSame(7, $process($sqlite, ['backend' => ['busy_timeout_ms' => 7]])['busy_timeout_ms']);
    }

    public function testASubscriberThatWouldRunAtOnceToo(): void
    {
        $this->expectExceptionMessage('would run at once and once more later');

        $this->boot([], static fn (ContainerConfigurator $container) => $container->services()->defaults()->autoconfigure()->set(SubscriberOfBothKinds::class));
    }

    public function testAListenerOfBothKindsRunsLaterOnly(): void
    {
        $kernel = $this->boot([], static fn (ContainerConfigurator $container) => $container->services()->defaults()->autoconfigure()->set(ListenerOfBothKinds::class));

        self::assertCount(1, $kernel->getContainer()->get('event_dispatcher')->getListeners(\ArrayObject::class));
    }

    public function testTheContainersLogSaysThatItRunsLaterOnly(): void
    {
        $container = new ContainerBuilder();
        $container->register('fervo_deferred_event.payload_dispatcher');
        $container->register('fervo_deferred_event.command.debug');
        $container->register('both', ListenerOfBothKinds::class)
            ->addTag('fervo_deferred_event.listener', ['method' => 'run'])
            ->addTag('kernel.event_listener', ['method' => 'run'])
            ->addTag('kernel.event_listener', ['event' => 'other', 'method' => 'run']);
        (new DeferredListenerPass())->process($container);

        self::assertStringContainsString('both::run() is a deferred listener of "ArrayObject", and runs later only', $container->getCompiler()->getLog()[0]);
        self::assertSame([['event' => 'other', 'method' => 'run']], $container->getDefinition('both')->getTag('kernel.event_listener'));
    }

    public function testAUnionOfEvents(): void
    {
        $kernel = $this->boot([], static fn (ContainerConfigurator $container) => $container->services()->defaults()->autoconfigure()->set(UnionListener::class));
        $dispatcher = $kernel->getContainer()->get('event_dispatcher');

        self::assertTrue($dispatcher->hasListeners(\ArrayObject::class));
        self::assertTrue($dispatcher->hasListeners(\stdClass::class));
    }

    public function testTagsAreAsSymfonys(): void
    {
        $kernel = $this->boot($this->sqlite(), static function (ContainerConfigurator $container): void {
            $container->services()->set('app.listener', GoodListener::class)
                ->tag('fervo_deferred_event.listener', ['event' => 'foo.action', 'priority' => 5, 'delay' => 'PT1M', 'job_priority' => 2])
                ->tag('fervo_deferred_event.listener');
        });
        $dispatcher = $kernel->getContainer()->get('event_dispatcher');
        $dispatcher->dispatch(new OrderPlaced(), 'foo.bar');
        self::assertFalse($dispatcher->hasListeners('foo.bar'));

        $listeners = $dispatcher->getListeners('foo.action');
        self::assertSame(5, $dispatcher->getListenerPriority('foo.action', $listeners[0]));
        self::assertCount(3, $dispatcher->getListeners(OrderPlaced::class));
    }

    public function testDebugFervoShowsNoSecrets(): void
    {
        $config = ['backend' => ['type' => 'redis', 'dsn' => 'redis://:hunter2@localhost'], 'signing' => ['secret' => 'topsecret', 'previous_secrets' => ['older']]];
        $output = $this->console(['command' => 'debug:fervo'], $config);

        self::assertMatchesRegularExpression('/Backend\s+redis, localhost:6379 *\n/', $output);
        self::assertMatchesRegularExpression('/Send\s+immediately/', $output);
        foreach (['hunter2', 'topsecret', 'older'] as $secret) {
            self::assertStringNotContainsString($secret, $output);
        }
    }

    public function testDebugFervoShowsQueueDelayAndAttemptsAsTheyComeOut(): void
    {
        $output = $this->console(['command' => 'debug:fervo'], $this->sqlite() + [
            'queue' => 'shop',
            'attempts' => 4,
            'events' => [OrderPlaced::class => ['delay' => 1.5, 'attempts' => 2], 'foo.action' => ['queue' => 'mail']],
        ]);

        self::assertMatchesRegularExpression('/Backend\s+sqlite, '.preg_quote($this->queue, '/').'\n/', preg_replace('/ +\n/', "\n", $output));
        self::assertMatchesRegularExpression('/Queues\s+shop, mail, orders\s/', $output);
        self::assertMatchesRegularExpression('/^ +foo\.action +mail +none +4 *$/m', $output);
        self::assertMatchesRegularExpression('/^ +'.preg_quote(OrderPlaced::class, '/').' +shop +1\.5 s +2 *$/m', $output);
        // What the attribute says goes first.
        self::assertMatchesRegularExpression('/Listeners::later +0 +orders +none +7 *$/m', $output);
        self::assertMatchesRegularExpression('/Listeners::later +0 +orders +none +7 *$/m', $this->console(['command' => 'debug:fervo'], $this->sqlite()));
    }

    public function testFrontControllerPath(): void
    {
        self::assertSame(\dirname(__DIR__, 2).'/bin/fervo-run.php', trim($this->console(['command' => 'fervo:front-controller'])));
    }

    /** @param array<string, mixed> $config */
    private function console(array $input, array $config = []): string
    {
        $application = new Application($this->boot($config));
        $application->setAutoExit(false);
        $tester = new ApplicationTester($application);
        self::assertSame(0, $tester->run($input, ['decorated' => false]));

        return $tester->getDisplay();
    }
}

final class WrongListener
{
    public function untyped($event): void
    {
    }

    private function secret(OrderPlaced $event): void
    {
    }
}

final class GoodListener
{
    public function onFooAction(object $event): void
    {
    }

    public function __invoke(OrderPlaced $event): void
    {
    }
}

final class ListenerOfBothKinds
{
    #[AsEventListener, AsDeferredListener]
    public function run(\ArrayObject $event): void
    {
    }
}

final class SubscriberOfBothKinds implements EventSubscriberInterface
{
    public static function getSubscribedEvents(): array
    {
        return [\ArrayObject::class => [['other'], ['run', 5]]];
    }

    public function other(): void
    {
    }

    #[AsDeferredListener]
    public function run(\ArrayObject $event): void
    {
    }
}

final class UnionListener
{
    #[AsDeferredListener]
    public function run(\ArrayObject|\stdClass $event): void
    {
    }
}
