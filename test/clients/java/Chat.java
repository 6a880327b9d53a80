import com.alibaba.dashscope.aigc.generation.Generation;
import com.alibaba.dashscope.aigc.generation.GenerationParam;
import com.alibaba.dashscope.aigc.generation.GenerationResult;
import com.alibaba.dashscope.common.Message;
import com.alibaba.dashscope.common.Role;
import com.alibaba.dashscope.exception.ApiException;
import java.util.List;
import java.util.Objects;

/** The DashScope SDK for Java, which finds Berth by DASHSCOPE_HTTP_BASE_URL and DASHSCOPE_API_KEY. */
public class Chat {
  static final String MODEL = System.getenv("BERTH_CHAT_MODEL");

  static void same(Object got, Object want) {
    if (!Objects.equals(got, want)) throw new AssertionError(got + ", want " + want);
  }

  static GenerationParam ask(String model, String question, boolean incremental) {
    return GenerationParam.builder()
        .model(model)
        .messages(List.of(Message.builder().role(Role.USER.getValue()).content(question).build()))
        .temperature(0f)
        .resultFormat(GenerationParam.ResultFormat.MESSAGE)
        .incrementalOutput(incremental)
        .build();
  }

  static String content(GenerationResult result) {
    return result.getOutput().getChoices().get(0).getMessage().getContent();
  }

  // conformance 81, 86, 87
  static void plain() throws Exception {
    GenerationResult answer = new Generation().call(ask(MODEL, "37+85", false));
    same(content(answer), "122");
    same(answer.getOutput().getChoices().get(0).getFinishReason(), "stop");
    if (answer.getRequestId() == null) throw new AssertionError("no request id");
    same(answer.getUsage().getTotalTokens(), answer.getUsage().getInputTokens() + answer.getUsage().getOutputTokens());
  }

  // conformance 88, 91, 92
  static void stream() throws Exception {
    String whole = content(new Generation().call(ask(MODEL, "count to 20", false)));
    StringBuilder pieces = new StringBuilder();
    new Generation().streamCall(ask(MODEL, "count to 20", true)).blockingForEach(r -> pieces.append(content(r)));
    same(pieces.toString(), whole);
    same(content(new Generation().streamCall(ask(MODEL, "count to 20", false)).blockingLast()), whole);
  }

  // conformance 5, 7
  static void refuse() throws Exception {
    try {
      new Generation().call(ask("nobody", "37+85", false));
      throw new AssertionError("it was answered");
    } catch (ApiException e) {
      refused(e);
    }
    try {
      new Generation().streamCall(ask("nobody", "37+85", true)).blockingLast();
      throw new AssertionError("it was answered");
    } catch (ApiException e) {
      refused(e);
    }
  }

  static void refused(ApiException e) {
    same(e.getStatus().getStatusCode(), 404);
    same(e.getStatus().getCode(), "ModelNotFound");
    same(e.getStatus().getMessage(), "Model can not be found.");
    if (e.getStatus().getRequestId() == null) throw new AssertionError("no request id");
  }

  // conformance 105
  public static void main(String[] args) throws Exception {
    plain();
    stream();
    refuse();
    System.exit(0); // the SDK's HTTP client keeps threads
  }
}
