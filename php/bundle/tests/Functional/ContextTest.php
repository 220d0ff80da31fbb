<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Functional;

use Fervo\DeferredEventBundle\Backend\BackendInterface;
use Fervo\DeferredEventBundle\Backend\DeferredJob;
use Fervo\DeferredEventBundle\Context\ContextCarrierInterface;
use Fervo\DeferredEventBundle\Context\LocaleCarrier;
use Fervo\DeferredEventBundle\DeferredEventQueueInterface;
use Fervo\DeferredEventBundle\DependencyInjection\Compiler\ContextPass;
use Fervo\DeferredEventBundle\Event\JobReceived;
use Fervo\DeferredEventBundle\Exception\UnserializableEventException;
use Fervo\DeferredEventBundle\Tests\Fixtures\TestKernel;
use Fervo\DeferredEventBundle\Tests\Support\Queue;
use Fervo\Runner\Job;
use Fervo\Runner\Outcome;
use Symfony\Component\DependencyInjection\ContainerBuilder;
use Symfony\Component\DependencyInjection\Loader\Configurator\ContainerConfigurator;
use Symfony\Component\HttpFoundation\Request;
use Symfony\Component\HttpFoundation\RequestStack;
use Symfony\Component\Routing\RequestContext;

use function Symfony\Component\DependencyInjection\Loader\Configurator\service;

/** What of the request travels with an event. */
final class ContextTest extends KernelTestCase
{
    public function testNothingTravelsUnlessConfigured(): void
    {
        $kernel = $this->shop([]);
        $this->defer($kernel, 'https', 'shop.example', 'de');

        self::assertArrayNotHasKey('context', $this->payload(0));
        $this->work($kernel = $this->shop([], $this->queue));
        self::assertSame(['http://localhost en'], $this->seen($kernel));
    }

    public function testHostAndLocaleAreThoseOfTheRequestAroundTheListenersAndNoLonger(): void
    {
        $config = ['context' => ['host', 'locale']];
        $this->defer($this->shop($config), 'https', 'shop.example', 'de');

        self::assertSame([
            'host' => ['scheme' => 'https', 'host' => 'shop.example', 'http_port' => 80, 'https_port' => 8443, 'base_url' => '/app'],
            'locale' => 'de',
        ], $this->payload(0)['context']);

        $kernel = $this->shop($config, $this->queue);
        $this->defer($kernel, 'http', 'localhost', 'en');
        $this->work($kernel);
        self::assertSame(['https://shop.example:8443/app de', 'http://localhost/app en'], $this->seen($kernel));
        self::assertSame('en', $kernel->getContainer()->get('test.service_container')->get('translator')->getLocale());
        self::assertSame('localhost', $kernel->getContainer()->get('router')->getContext()->getHost());
    }

    public function testTheLocaleIsTheRequestsWhereNothingTranslates(): void
    {
        $request = new Request();
        $request->setLocale('fr');
        $requests = new RequestStack();
        $requests->push($request);
        $router = new RequestContext();
        $carrier = new LocaleCarrier([], $requests, $router);

        self::assertSame('fr', $carrier->capture());
        $undo = $carrier->restore('de');
        self::assertSame('de', $router->getParameter('_locale'));
        $undo();
        self::assertFalse($router->hasParameter('_locale'));
    }

    public function testAllIsPutBackAfterAListenerThatThrows(): void
    {
        $config = ['context' => 'host'];
        $kernel = $this->shop($config);
        $this->defer($kernel, 'https', 'shop.example', 'de', 'throw');

        $kernel = $this->shop($config, $this->queue);
        $payload = Queue::rows($this->queue)[0]['payload'];
        $outcome = $this->silently(static fn (): Outcome => $kernel->getContainer()->get('fervo_deferred_event.runner')->run(Job::fromParams($_SERVER, $payload)));
        self::assertSame('retry', $outcome->kind);
        self::assertSame('localhost', $kernel->getContainer()->get('router')->getContext()->getHost());
    }

    public function testWhatAnEventDefersHasTheSameContext(): void
    {
        $config = ['context' => ['host', 'locale']];
        $this->defer($this->shop($config), 'https', 'shop.example', 'de', 'defer');

        $this->work($kernel = $this->shop($config, $this->queue));
        self::assertSame(['https://shop.example:8443/app de', 'https://shop.example:8443/app de'], $this->seen($kernel));
    }

    public function testAWorkerThatIsConfiguredOtherwiseReadsWhatIsInTheQueue(): void
    {
        $this->defer($this->shop(['context' => ['host', 'locale']]), 'https', 'shop.example', 'de');

        $this->work($kernel = $this->shop([], $this->queue));
        self::assertSame(['https://shop.example:8443/app de'], $this->seen($kernel));
    }

    public function testACarrierOfTheApplication(): void
    {
        $kernel = $this->shop([], null, Tenant::class);
        $kernel->getContainer()->get(Tenant::class)->id = 7;
        $this->defer($kernel, 'http', 'localhost', 'en');
        self::assertSame(['tenant' => ['id' => 7, 'ratio' => 1.0]], $this->payload(0)['context']);

        $kernel = $this->shop([], $this->queue, Tenant::class);
        $this->work($kernel);
        self::assertSame(['received for 7', 'http://localhost en, tenant 7'], $this->seen($kernel));
        self::assertNull($kernel->getContainer()->get(Tenant::class)->id);
    }

    /** A tenant may have a database, and a queue, of its own. */
    public function testTheContextLastsUntilWhatTheJobHasDeferredIsSent(): void
    {
        $kernel = $this->shop([], null, Tenant::class);
        $kernel->getContainer()->get(Tenant::class)->id = 7;
        $this->defer($kernel, 'http', 'localhost', 'en', 'defer');
        $payload = Queue::rows($this->queue)[0]['payload'];

        $kernel = $this->boot(['backend' => ['type' => 'service', 'service' => TenantsBackend::class], 'send' => 'on_terminate'], static function (ContainerConfigurator $container): void {
            $services = $container->services()->defaults()->autowire()->autoconfigure()->public();
            $services->set(Tenant::class)->set(TenantsBackend::class);
            $services->set(Redeferring::class)->tag('kernel.event_listener', ['event' => 'visit']);
        });
        self::assertSame('ack', $kernel->getContainer()->get('fervo_deferred_event.runner')->run(Job::fromParams($_SERVER, $payload))->kind);
        self::assertSame([7], $kernel->getContainer()->get(TenantsBackend::class)->tenants);
        self::assertNull($kernel->getContainer()->get(Tenant::class)->id);
    }

    public function testACarrierThatFailsToPutBackChangesNoOutcomeAndKeepsNoOtherFromIt(): void
    {
        $kernel = $this->shop(['context' => 'host'], null, Tenant::class);
        $kernel->getContainer()->get(Tenant::class)->id = 7;
        $this->defer($kernel, 'https', 'shop.example', 'en');
        $payload = Queue::rows($this->queue)[0]['payload'];

        $kernel = $this->shop([], $this->queue, Tenant::class);
        $kernel->getContainer()->get(Tenant::class)->isStuck = true;
        $outcome = $this->silently(static fn (): Outcome => $kernel->getContainer()->get('fervo_deferred_event.runner')->run(Job::fromParams($_SERVER, $payload)));
        self::assertSame('ack', $outcome->kind);
        self::assertSame('localhost', $kernel->getContainer()->get('router')->getContext()->getHost());
    }

    /** As long as its carrier says that there is nothing, nothing travels. */
    public function testACarrierMayHaveNothing(): void
    {
        $this->defer($this->shop([], null, Tenant::class), 'http', 'localhost', 'en');

        self::assertArrayNotHasKey('context', $this->payload(0));
    }

    public function testWithoutItsCarrierAnEventWaitsForTheNextDeployment(): void
    {
        $kernel = $this->shop([], null, Tenant::class);
        $kernel->getContainer()->get(Tenant::class)->id = 7;
        $this->defer($kernel, 'http', 'localhost', 'en');

        $kernel = $this->shop([], $this->queue);
        $payload = Queue::rows($this->queue)[0]['payload'];
        $outcome = $this->silently(static fn (): Outcome => $kernel->getContainer()->get('fervo_deferred_event.runner')->run(Job::fromParams($_SERVER, $payload)));
        self::assertSame('retry', $outcome->kind);
        self::assertStringContainsString('the context "tenant", for which there is no carrier', (string) $outcome->error);
        self::assertSame([], $this->seen($kernel));
    }

    public function testOnlyPlainDataTravels(): void
    {
        $kernel = $this->shop([], null, Tenant::class);
        $kernel->getContainer()->get(Tenant::class)->id = new \stdClass();

        $this->expectException(UnserializableEventException::class);
        $this->expectExceptionMessage('the context "tenant" is no plain data');
        $this->defer($kernel, 'http', 'localhost', 'en');
    }

    public function testTwoCarriersOfOneNameAreRefused(): void
    {
        $this->expectExceptionMessage('The context "tenant" has two carriers');
        $this->boot([], static function (ContainerConfigurator $container): void {
            $container->services()->defaults()->autoconfigure()->set(Tenant::class)->set('another', Tenant::class);
        });
    }

    public function testHostNeedsTheRouter(): void
    {
        $container = new ContainerBuilder();
        $container->register('fervo_deferred_event.context');
        $container->setParameter('fervo_deferred_event.context', ['host']);

        $this->expectExceptionMessage('needs Symfony\'s router');
        (new ContextPass())->process($container);
    }

    /** @param array<string, mixed> $config */
    private function shop(array $config, ?string $queue = null, ?string $carrier = null): TestKernel
    {
        $backend = null === $queue ? $this->sqlite() : ['backend' => ['type' => 'sqlite', 'path' => $queue]];

        return $this->boot($config + $backend, static function (ContainerConfigurator $container) use ($carrier): void {
            self::quiet($container);
            $container->extension('framework', ['default_locale' => 'en', 'translator' => ['default_path' => '%kernel.project_dir%']]);
            $services = $container->services()->defaults()->autoconfigure()->public();
            if (null !== $carrier) {
                $services->set($carrier);
            }
            $services->set(ShopFront::class)
                ->args([service('router.request_context'), service('translator'), service('fervo_dispatch.queue'), null === $carrier ? null : service($carrier)])
                ->tag('kernel.event_listener', ['event' => 'visit', 'method' => 'onVisit'])
                ->tag('kernel.event_listener', ['event' => JobReceived::class, 'method' => 'onReceived']);
        });
    }

    /** As in a request to that host, in that language. */
    private function defer(TestKernel $kernel, string $scheme, string $host, string $locale, string $what = ''): void
    {
        $context = $kernel->getContainer()->get('router')->getContext();
        \assert($context instanceof RequestContext);
        $before = clone $context;
        $context->setScheme($scheme)->setHost($host)->setBaseUrl('/app')->setHttpsPort('https' === $scheme ? 8443 : 443);
        $translator = $kernel->getContainer()->get('test.service_container')->get('translator');
        $translator->setLocale($locale);
        try {
            $kernel->getContainer()->get('fervo_dispatch.queue')->deferEvent(new \ArrayObject([$what]), 'visit');
        } finally {
            $context->setScheme($before->getScheme())->setHost($before->getHost())->setBaseUrl($before->getBaseUrl())->setHttpsPort($before->getHttpsPort());
            $translator->setLocale('en');
        }
    }

    /** @return list<string> */
    private function seen(TestKernel $kernel): array
    {
        return $kernel->getContainer()->get(ShopFront::class)->seen;
    }
}

final class ShopFront
{
    /** @var list<string> */
    public array $seen = [];

    public function __construct(
        private readonly RequestContext $context,
        private readonly object $translator,
        private readonly DeferredEventQueueInterface $queue,
        private readonly ?Tenant $tenant = null,
    ) {
    }

    public function onReceived(): void
    {
        if (null !== $this->tenant) {
            $this->seen[] = 'received for '.$this->tenant->id;
        }
    }

    /** @param \ArrayObject<int, string> $event */
    public function onVisit(\ArrayObject $event): void
    {
        $port = 'https' === $this->context->getScheme() && 443 !== $this->context->getHttpsPort() ? ':'.$this->context->getHttpsPort() : '';
        $this->seen[] = $this->context->getScheme().'://'.$this->context->getHost().$port.$this->context->getBaseUrl().' '.$this->translator->getLocale()
            .(null === $this->tenant ? '' : ', tenant '.$this->tenant->id);
        match ($event[0]) {
            'throw' => throw new \DomainException('as told'),
            'defer' => $this->queue->deferEvent(new \ArrayObject(['']), 'visit'),
            default => null,
        };
    }
}

final class Tenant implements ContextCarrierInterface
{
    public int|object|null $id = null;
    public bool $isStuck = false;

    public static function name(): string
    {
        return 'tenant';
    }

    public function capture(): ?array
    {
        return null === $this->id ? null : ['id' => $this->id, 'ratio' => 1.0];
    }

    public function restore(array|bool|float|int|string $value): \Closure
    {
        $before = $this->id;
        $this->id = \is_array($value) ? $value['id'] : null;

        return function () use ($before): void {
            if ($this->isStuck) {
                throw new \LogicException('stuck');
            }
            $this->id = $before;
        };
    }
}

final class TenantsBackend implements BackendInterface
{
    /** @var list<mixed> who they were when something was sent */
    public array $tenants = [];

    public function __construct(private readonly Tenant $tenant)
    {
    }

    public function send(DeferredJob ...$jobs): void
    {
        $this->tenants[] = $this->tenant->id;
    }
}

final class Redeferring
{
    public function __construct(private readonly DeferredEventQueueInterface $queue)
    {
    }

    /** @param \ArrayObject<int, string> $event */
    public function __invoke(\ArrayObject $event): void
    {
        $this->queue->deferEvent($event, 'again');
    }
}
