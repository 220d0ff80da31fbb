<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Functional;

use Fervo\DeferredEventBundle\DeferOptions;
use Fervo\DeferredEventBundle\Event\DeferEvent;
use Fervo\DeferredEventBundle\Tests\Fixtures\FooActionEvent;
use Fervo\DeferredEventBundle\Tests\Fixtures\OrderPlaced;
use Fervo\DeferredEventBundle\Tests\Fixtures\TestKernel;
use Symfony\Bundle\TwigBundle\TwigBundle;
use Symfony\Bundle\WebProfilerBundle\WebProfilerBundle;
use Symfony\Component\DependencyInjection\Loader\Configurator\ContainerConfigurator;
use Symfony\Component\HttpFoundation\Request;
use Symfony\Component\HttpKernel\Event\RequestEvent;

/** What a developer sees of a request that defers events. */
final class ProfilerTest extends KernelTestCase
{
    public function testThePanelListsTheRequestsEvents(): void
    {
        $kernel = $this->profiled($this->sqlite() + ['send' => 'on_terminate']);
        $text = $this->panelOf($kernel, static function (TestKernel $kernel): void {
            $dispatcher = $kernel->getContainer()->get('event_dispatcher');
            $dispatcher->dispatch(new DeferEvent('foo.action', new FooActionEvent('<b>'), new DeferOptions(delay: 90, queue: 'mail', priority: 3, attempts: 2)));
            $dispatcher->dispatch(new OrderPlaced());
        });

        self::assertMatchesRegularExpression('/foo\.action \S+FooActionEvent mail (90|[78]\d(\.\d+)?) s 3 2 \d+ sent/', $text);
        self::assertMatchesRegularExpression('/OrderPlaced only for \S+Listeners::later orders none 0 7 \d+ sent/', $text);
        self::assertStringContainsString('Backend sqlite', $text);
        self::assertMatchesRegularExpression('/Deferred events 2 $/', $text);
    }

    public function testAFailedOneIsSeen(): void
    {
        $kernel = $this->profiled(['backend' => ['type' => 'sqlite', 'path' => '/nowhere'], 'send' => 'on_terminate']);
        $text = $this->panelOf($kernel, static function (TestKernel $kernel): void {
            $kernel->getContainer()->get('fervo_dispatch.queue')->deferEvent(new OrderPlaced());
        });

        self::assertMatchesRegularExpression('/default \d+ failed/', $text);
    }

    /** @param array<string, mixed> $config */
    private function profiled(array $config): TestKernel
    {
        return $this->boot($config, static function (ContainerConfigurator $container): void {
            self::quiet($container);
            $container->extension('framework', ['profiler' => ['enabled' => true, 'collect' => true]]);
            $container->extension('twig', ['strict_variables' => true]);
            $container->extension('web_profiler', ['toolbar' => false]);
            $container->services()->get('logger')->public();
        }, [TwigBundle::class, WebProfilerBundle::class], debug: true);
    }

    private function panelOf(TestKernel $kernel, \Closure $defer): string
    {
        $request = Request::create('/nothing');
        $kernel->getContainer()->get('event_dispatcher')->addListener('kernel.request', static fn (RequestEvent $event) => $event->isMainRequest() ? $defer($kernel) : null, 1000);
        $response = $kernel->handle($request);
        $kernel->terminate($request, $response);

        $container = $kernel->getContainer()->get('test.service_container');
        $profile = $container->get('profiler')->loadProfile($response->headers->get('X-Debug-Token'));
        $template = $container->get('twig')->load('@FervoDeferredEvent/Collector/deferred_events.html.twig');
        $context = ['collector' => $profile->getCollector('fervo_deferred_event'), 'profiler_url' => '/', 'token' => $profile->getToken(), 'name' => 'fervo_deferred_event'];

        $html = $template->renderBlock('panel', $context).$template->renderBlock('menu', $context);

        return html_entity_decode(preg_replace('/\s+/', ' ', strip_tags(str_replace('<', ' <', $html))));
    }
}
