<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Worker;

use Fervo\DeferredEventBundle\Payload\PayloadCodec;
use Fervo\DeferredEventBundle\Payload\Signer;
use Fervo\DeferredEventBundle\Serializer\PhpEventSerializer;
use Fervo\DeferredEventBundle\Tests\Fixtures\AppKernel;
use Fervo\DeferredEventBundle\Tests\Fixtures\FooActionEvent;
use Fervo\DeferredEventBundle\Tests\Fixtures\Recorder;
use Fervo\DeferredEventBundle\Tests\Fixtures\ShopRuntime;
use Fervo\DeferredEventBundle\Tests\Support\Project;
use Fervo\DeferredEventBundle\Tests\Support\Server;
use Fervo\DeferredEventBundle\Worker\FrontController;
use PHPUnit\Framework\TestCase;
use Symfony\Component\DependencyInjection\ServiceLocator;

/**
 * With symfony/runtime, the worker has the environment, the options and the runtime that public/index.php and bin/console have: in
 * the front controller, and in a process for each event.
 */
final class RuntimeTest extends TestCase
{
    private string $project;

    protected function setUp(): void
    {
        $this->project = Project::create();
        file_put_contents($this->project.'/.env', "APP_ENV=prod\nFROM_DOTENV=root\n");
    }

    public function testWithoutOptions(): void
    {
        Project::addRuntime($this->project);

        $this->assertBothRecord('prod false prod - root -');
    }

    public function testFilesOfTheEnvironmentElsewhere(): void
    {
        Project::addRuntime($this->project, ['dotenv_path' => 'config/shop.env']);
        mkdir($this->project.'/config');
        file_put_contents($this->project.'/config/shop.env', "APP_ENV=prod\nFROM_DOTENV=config\n");

        $this->assertBothRecord('prod false prod - config -');
    }

    public function testTheFolderOfTheProjectIsAnotherThanComposers(): void
    {
        Project::addRuntime($this->project, ['project_dir' => 'app']);
        mkdir($this->project.'/app');
        file_put_contents($this->project.'/app/.env', "APP_ENV=prod\nFROM_DOTENV=app\n");

        $this->assertBothRecord('prod false prod - app -');
    }

    public function testNoFilesOfTheEnvironment(): void
    {
        Project::addRuntime($this->project, ['disable_dotenv' => true, 'prod_envs' => ['dev']]);

        $this->assertBothRecord('dev false dev - - -');
    }

    public function testAnotherNameOfTheEnvironment(): void
    {
        file_put_contents($this->project.'/.env', "SHOP_ENV=live\nSHOP_DEBUG=0\nFROM_DOTENV=root\n");
        Project::addRuntime($this->project, ['env_var_name' => 'SHOP_ENV', 'debug_var_name' => 'SHOP_DEBUG']);

        $this->assertBothRecord('live false - live root -', "\$context['SHOP_ENV'], (bool) \$context['SHOP_DEBUG']");
    }

    public function testARuntimeOfItsOwn(): void
    {
        Project::addRuntime($this->project, ['class' => ShopRuntime::class]);

        $this->assertBothRecord('prod false prod - root shop');
    }

    public function testItsErrorHandlerIsTheApplications(): void
    {
        file_put_contents($this->project.'/.env', "APP_ENV=dev\nAPP_DEBUG=1\n");
        Project::addRuntime($this->project);
        self::assertStringContainsString('Undefined array key "warn"', (string) $this->request('warn')['X-Fervo-Error']);

        Project::addRuntime($this->project, ['error_handler' => false]);
        self::assertSame('ack', $this->request('warn')['X-Fervo-Outcome']);
    }

    public function testWhereItCannotBeginTheJobIsTriedAgainAndTheReasonTold(): void
    {
        Project::addRuntime($this->project, ['dotenv_path' => 'gone.env']);
        $headers = $this->request('runtime');

        self::assertSame('retry', $headers['X-Fervo-Outcome']);
        self::assertStringContainsString('gone.env', $headers['X-Fervo-Error']);
    }

    /** As the README has it. */
    public function testAFrontControllerOfItsOwn(): void
    {
        Project::addRuntime($this->project, ['class' => ShopRuntime::class]);
        mkdir($this->project.'/public');
        file_put_contents($script = $this->project.'/public/worker.php', "<?php
            require_once dirname(__DIR__).'/vendor/autoload_runtime.php';
            return static fn (array \$context) => ".FrontController::class.'::runner(static fn () => new '.AppKernel::class."(\$context['APP_ENV'], (bool) \$context['APP_DEBUG']));");

        self::assertSame(['X-Fervo-Outcome' => 'ack'], $this->request('runtime', script: $script));
        self::assertSame('prod false prod - root shop '.$script, $this->recorded());
    }

    /** The plain way, then: symfony/runtime does nothing. */
    public function testComposersAutoloaderMayHaveBeenLoadedBefore(): void
    {
        Project::addRuntime($this->project, ['class' => ShopRuntime::class]);

        self::assertSame('ack', $this->request('runtime', ['FERVO_TEST_PREPEND' => $this->project.'/vendor/autoload.php'])['X-Fervo-Outcome']);
        self::assertStringContainsString('prod false prod - root -', $this->recorded());
    }

    private function assertBothRecord(string $expected, string $arguments = "\$context['APP_ENV'], (bool) \$context['APP_DEBUG']"): void
    {
        self::assertSame(['X-Fervo-Outcome' => 'ack'], $this->request('runtime'));
        self::assertSame($expected.' '.Project::script($this->project), $this->recorded());

        self::assertSame(0, $this->console('runtime', $arguments));
        self::assertSame($expected.' '.$this->project.'/bin/console', $this->recorded());
    }

    /**
     * @param array<string, string> $params
     *
     * @return array<string, string> the X-Fervo headers
     */
    private function request(string $text, array $params = [], ?string $script = null): array
    {
        $script ??= Project::script($this->project);
        $server = Server::php(\dirname(__DIR__).'/Fixtures/router.php', $this->project, ['FERVO_TEST_SCRIPT' => $script] + $this->environment());
        $params += ['FERVO_JOB_ID' => '7', 'APP_KERNEL_CLASS' => AppKernel::class, 'SCRIPT_FILENAME' => $script];
        file_get_contents('http://127.0.0.1:'.$server->port().'/', false, stream_context_create(['http' => [
            'method' => 'POST',
            'header' => ['Content-Type: application/octet-stream', 'X-Params: '.json_encode($params, \JSON_THROW_ON_ERROR)],
            'content' => self::payload($text),
            'ignore_errors' => true,
        ]]));
        $headers = [];
        foreach ($http_response_header as $line) {
            if (str_starts_with($line, 'X-Fervo-')) {
                [$name, $value] = explode(': ', $line, 2);
                $headers[$name] = $value;
            }
        }

        return $headers;
    }

    /** The console of symfony/skeleton. */
    private function console(string $text, string $arguments): int
    {
        @mkdir($this->project.'/bin');
        file_put_contents($this->project.'/bin/console', "<?php
            require_once dirname(__DIR__).'/vendor/autoload_runtime.php';
            return static fn (array \$context) => new Symfony\\Bundle\\FrameworkBundle\\Console\\Application(new ".AppKernel::class."($arguments));");
        file_put_contents($this->project.'/stdin', self::payload($text));
        $process = proc_open(
            [\PHP_BINARY, $this->project.'/bin/console', 'fervo:deferred-event:dispatch', '-'],
            [['file', $this->project.'/stdin', 'r'], ['file', '/dev/null', 'w'], ['file', $this->project.'/stderr', 'w']],
            $pipes,
            null,
            $this->environment() + getenv(),
        );
        self::assertIsResource($process);

        return proc_close($process);
    }

    /** @return array<string, string> */
    private function environment(): array
    {
        return ['FERVO_TEST_FOLDER' => $this->project, 'FERVO_TEST_CONFIG' => '{"send":"on_terminate"}', 'FERVO_TEST_AUTOLOAD' => (string) getenv('FERVO_TEST_AUTOLOAD')];
    }

    private static function payload(string $text): string
    {
        $php = new PhpEventSerializer();

        return (new PayloadCodec(new Signer('s3cret'), new ServiceLocator(['php' => static fn () => $php]), 'php'))->encode('foo.action', new FooActionEvent($text));
    }

    private function recorded(): string
    {
        $lines = Recorder::read($this->project.'/recorded');

        return (string) end($lines);
    }
}
